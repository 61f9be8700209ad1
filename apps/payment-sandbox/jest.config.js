module.exports = { displayName: 'payment-sandbox', preset: '../../jest.preset.js' };
