import {
  address,
  choice,
  ConfigError,
  describeConfig,
  integer,
  list,
  optionalText,
  parseConfig,
  port,
  text,
  url,
  urls,
} from './index';

const spec = {
  PORT: port({ default: 8080 }),
  DATABASE_URL: url(['postgres']),
  USER_SHARD_URLS: urls(['postgres'], { default: [] }),
  USER_ADDRESS: address({ default: 'localhost:1' }),
  LEVEL: choice(['low', 'high'], { default: 'low' }),
  SECONDS: integer({ min: 1, max: 10, default: 5 }),
  NAME: text({ default: 'none' }),
  ORIGINS: list({ default: [] }),
  TOKEN: optionalText({ secret: true }),
};

it('reports every problem at once, with the name, what was found and what is expected, never a secret', () => {
  const env = {
    PORT: '99999',
    DATABASE_URL: 'mysql://user:hunter2@host/db',
    LEVEL: 'middle',
    SECONDS: '0',
    USER_ADDRESS: 'nowhere',
  };
  let message = '';
  try {
    parseConfig(spec, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    message = (error as Error).message;
  }
  expect(message.split('\n').map((line) => line.trim().split(':')[0])).toEqual([
    'configuration is not valid',
    'PORT',
    'DATABASE_URL',
    'USER_ADDRESS',
    'LEVEL',
    'SECONDS',
  ]);
  expect(message).toContain('found "middle", expected one of low, high');
  expect(message).not.toContain('hunter2');
});

it('says which variables are missing; an empty value counts as missing', () => {
  expect(() => parseConfig(spec, { DATABASE_URL: '' })).toThrow(
    'DATABASE_URL: missing, expected a URL such as postgres://',
  );
});

it('reads valid values and fills in what may be left out', () => {
  const config = parseConfig(spec, {
    DATABASE_URL: 'postgres://db/x',
    USER_SHARD_URLS: 'postgres://a/x, postgres://b/x',
    ORIGINS: 'https://a.example,https://b.example',
  });
  expect(config).toEqual({
    PORT: 8080,
    DATABASE_URL: 'postgres://db/x',
    USER_SHARD_URLS: ['postgres://a/x', 'postgres://b/x'],
    USER_ADDRESS: 'localhost:1',
    LEVEL: 'low',
    SECONDS: 5,
    NAME: 'none',
    ORIGINS: ['https://a.example', 'https://b.example'],
    TOKEN: undefined,
  });
});

it('masks secrets where the effective values are printed', () => {
  const config = parseConfig(spec, { DATABASE_URL: 'postgres://user:hunter2@db/x', TOKEN: 's3cret' });
  const printed = describeConfig(spec, config);
  expect(printed).toContain('PORT=8080');
  expect(printed).toContain('TOKEN=********');
  expect(printed).not.toMatch(/hunter2|s3cret/);
});
