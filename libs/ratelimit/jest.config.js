module.exports = { displayName: 'ratelimit', preset: '../../jest.preset.js' };
