/** The jest settings of every project: TypeScript through swc, one shared PostgreSQL server for the data tests. */
const { join } = require('node:path');

module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/src/**/*.test.ts', '<rootDir>/test/**/*.test.ts'],
  transform: {
    '^.+\\.m?[jt]s$': [
      '@swc/jest',
      { jsc: { target: 'es2023', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  transformIgnorePatterns: [
    '/node_modules/(?!(jose|typebox|@fastify/type-provider-typebox|pg-boss|serialize-error|non-error|rrule-temporal)/)',
  ],
  globalSetup: join(__dirname, 'libs/testing/src/global-setup.ts'),
  globalTeardown: join(__dirname, 'libs/testing/src/global-teardown.ts'),
  modulePathIgnorePatterns: ['<rootDir>/dist'],
};
