module.exports = {
  displayName: 'gateway',
  preset: '../../jest.preset.js',
  // ESM only, like those of the preset; cookie comes with fastify's request injection.
  transformIgnorePatterns: ['/node_modules/(?!(jose|typebox|cookie)/)'],
};
