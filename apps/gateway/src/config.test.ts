import { parseConfig } from '@headroom/service';
import { CONFIG } from './config';

const NEEDED = {
  USER_ADDRESS: 'localhost:1',
  CATALOG_ADDRESS: 'localhost:2',
  ORDER_ADDRESS: 'localhost:3',
  QUERY_ADDRESS: 'localhost:4',
  RECOMMENDATION_ADDRESS: 'localhost:5',
  ISSUER: 'http://localhost:8080',
  SIGNING_SECRET: 'x'.repeat(32),
};
const problemsOf = (env: Record<string, string>) => {
  try {
    parseConfig(CONFIG, { ...NEEDED, ...env });
    return [];
  } catch (error) {
    return (error as { problems: string[] }).problems;
  }
};

test('by default nobody is trusted and no other origin may read', () => {
  expect(parseConfig(CONFIG, NEEDED)).toMatchObject({
    PORT: 8080,
    CORS_ORIGINS: [],
    TRUSTED_PROXIES: [],
    SHOP_CURRENCY: 'EUR',
  });
});

test('lists of proxies and origins are checked one by one', () => {
  expect(
    problemsOf({ TRUSTED_PROXIES: '10.0.0.0/8, ::1, fd00::/8', CORS_ORIGINS: 'https://a.example' }),
  ).toEqual([]);
  for (const TRUSTED_PROXIES of ['10.0.0.0/33', 'everyone', '10.0.0.0/8/8', '10.0.0.0/x'])
    expect(problemsOf({ TRUSTED_PROXIES })).toHaveLength(1);
  for (const CORS_ORIGINS of ['*', 'https://a.example/path', 'a.example'])
    expect(problemsOf({ CORS_ORIGINS })).toHaveLength(1);
});

test('a secret that is too short is refused and not shown', () => {
  const [problem] = problemsOf({ SIGNING_SECRET: 'short-secret' });
  expect(problem).toMatch(/SIGNING_SECRET/);
  expect(problem).not.toContain('short-secret');
});
