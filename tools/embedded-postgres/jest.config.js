module.exports = { displayName: 'embedded-postgres', preset: '../../jest.preset.js' };
