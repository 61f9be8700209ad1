import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

/** Which kinds of project may use which: contracts <- apps -> capabilities -> adapters -> foundation. */
const boundaries = [
  { sourceTag: 'type:foundation', onlyDependOnLibsWithTags: ['type:foundation'] },
  { sourceTag: 'type:contract', onlyDependOnLibsWithTags: ['type:foundation'] },
  { sourceTag: 'type:adapter', onlyDependOnLibsWithTags: ['type:foundation'] },
  { sourceTag: 'type:capability', onlyDependOnLibsWithTags: ['type:adapter', 'type:foundation'] },
  {
    sourceTag: 'type:app',
    onlyDependOnLibsWithTags: ['type:contract', 'type:capability', 'type:adapter', 'type:foundation'],
  },
  {
    sourceTag: 'type:testing',
    onlyDependOnLibsWithTags: [
      'type:contract',
      'type:capability',
      'type:adapter',
      'type:foundation',
      'type:tool',
    ],
  },
  {
    sourceTag: 'type:tool',
    onlyDependOnLibsWithTags: [
      'type:contract',
      'type:capability',
      'type:adapter',
      'type:foundation',
      'type:tool',
    ],
  },
];
const allKinds = [
  'type:contract',
  'type:capability',
  'type:adapter',
  'type:foundation',
  'type:testing',
  'type:tool',
];

/** Tests of the libraries that `testing` is built on use it: a circle of test files only. */
const testOnly = [
  'contracts',
  'postgres',
  'messaging',
  'jobs',
  'rpc',
  'service',
  'telemetry',
  'resilience',
].flatMap((library) => [
  [`@headroom/${library}`, '@headroom/testing'],
  ['@headroom/testing', `@headroom/${library}`],
]);

/** Packages that only one library may import, so that each has one place where its defaults are made safe. */
const owned = {
  pg: 'libs/postgres',
  kafkajs: 'libs/messaging',
  'pg-boss': 'libs/jobs',
  ioredis: 'libs/redis',
  '@grpc/grpc-js': 'libs/rpc',
  'prom-client': 'libs/telemetry',
  pino: 'libs/telemetry',
};
const restrictImports = (except) => [
  'error',
  {
    paths: Object.entries(owned)
      .filter(([, owner]) => owner !== except)
      .map(([name, owner]) => ({ name, message: `Only ${owner} imports ${name}.`, allowTypeImports: true })),
    patterns: [{ group: ['@opentelemetry/*'], message: 'Only libs/telemetry imports OpenTelemetry.' }].filter(
      () => except !== 'libs/telemetry',
    ),
  },
];
const environment = [
  'error',
  { object: 'process', property: 'env', message: 'Read the environment in config.ts only.' },
];

export default [
  {
    ignores: [
      '**/node_modules',
      '**/dist',
      '.nx',
      '.data',
      'libs/contracts/src/gen',
      '**/*.js',
      '**/*.mjs',
      '**/*.cjs',
    ],
  },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    plugins: { '@nx': nx },
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: false,
          allow: [],
          ignoredCircularDependencies: testOnly,
          depConstraints: boundaries,
        },
      ],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/no-restricted-imports': restrictImports(undefined),
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  ...Object.values(owned).map((library) => ({
    files: [`${library}/**/*.ts`],
    rules: { '@typescript-eslint/no-restricted-imports': restrictImports(library) },
  })),
  {
    files: ['apps/*/src/**/*.ts'],
    ignores: ['**/*.test.ts', '**/config.ts'],
    rules: { 'no-restricted-properties': environment },
  },
  {
    // The sql tag lives where a reader looks for statements.
    files: ['apps/*/src/**/*.ts'],
    ignores: ['**/repository.ts', '**/views.ts', '**/views/*.ts', '**/*repository.ts', '**/*.test.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: "CallExpression[callee.name='sql']",
          message: 'SQL statements live in repository.ts or views.ts.',
        },
      ],
    },
  },
  {
    files: [
      '**/*.test.ts',
      '**/test/**/*.ts',
      '**/bench/**/*.ts',
      '**/*.contract.ts',
      'libs/testing/**/*.ts',
      'tools/**/*.ts',
    ],
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          ignoredCircularDependencies: testOnly,
          depConstraints: [{ sourceTag: '*', onlyDependOnLibsWithTags: allKinds }],
        },
      ],
      '@typescript-eslint/no-restricted-imports': 'off',
      'no-console': 'off',
    },
  },
];
