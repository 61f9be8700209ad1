module.exports = { displayName: 'recommend', preset: '../../jest.preset.js' };
