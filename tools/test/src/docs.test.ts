import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = join(__dirname, '..', '..', '..');
const pages = [...globSync('*.md', { cwd: root }), ...globSync('docs/**/*.md', { cwd: root })];

it.each(pages)('every link to a file in %s leads somewhere', (page) => {
  const text = readFileSync(join(root, page), 'utf8');
  const targets = [...text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map((match) => match[1]!);
  expect(targets.filter((target) => !existsSync(join(root, dirname(page), target)))).toEqual([]);
});

it('every file that docs/techniques.md names exists', () => {
  const text = readFileSync(join(root, 'docs/techniques.md'), 'utf8');
  const files = [...text.matchAll(/`((?:apps|libs|tools|docs|charts|k8s)\/[\w./-]+)`/g)].map(
    (match) => match[1]!,
  );
  expect(files.length).toBeGreaterThan(20);
  expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
});

it('every command that the README shows is a script', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const named = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/npm (?:run )?([a-z:]+)/g)].map(
    (match) => match[1]!,
  );
  expect([...new Set(named)].filter((name) => !(name in scripts))).toEqual([]);
});
