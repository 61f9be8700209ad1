module.exports = { displayName: 'recommend-eval', preset: '../../jest.preset.js' };
