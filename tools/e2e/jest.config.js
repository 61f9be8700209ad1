/** Against the started system; run on its own by `npm test`, not with the unit tests. */
const { join } = require('node:path');

module.exports = {
  displayName: 'e2e',
  preset: '../../jest.preset.js',
  globalSetup: join(__dirname, 'src/start-system.ts'),
  globalTeardown: join(__dirname, 'src/stop-system.ts'),
  testTimeout: 60_000,
};
