module.exports = { displayName: 'user', preset: '../../jest.preset.js' };
