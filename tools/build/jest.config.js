module.exports = { displayName: 'build', preset: '../../jest.preset.js' };
