const { existsSync, readdirSync } = require('node:fs');
const { join } = require('node:path');

/** Every project with a jest configuration, except the end-to-end tests, which run against a started system. */
module.exports = {
  projects: ['apps', 'libs', 'tools']
    .flatMap((folder) => readdirSync(join(__dirname, folder)).map((name) => join(folder, name)))
    .filter(
      (project) => project !== join('tools', 'e2e') && existsSync(join(__dirname, project, 'jest.config.js')),
    )
    .map((project) => `<rootDir>/${project}`),
};
