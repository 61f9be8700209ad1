module.exports = { projects: ['<rootDir>/apps/*', '<rootDir>/libs/*', '<rootDir>/tools/!(e2e)'] };
