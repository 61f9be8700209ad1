import { build, stop, type Plugin } from 'esbuild';
import { cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/**
 * Everything from node_modules stays outside the bundle, so that instrumented and native packages stay whole. Only a package
 * that would be found in another version from the bundle's place than from its importer's goes in.
 */
const keepPackagesOutside = (root: string): Plugin => ({
  name: 'keep-packages-outside',
  setup(bundle) {
    bundle.onResolve({ filter: /^[^./]/ }, ({ path, kind, resolveDir }) => {
      if (kind === 'entry-point' || path.startsWith('@headroom/')) return undefined;
      const [wanted, found] = [fileOf(path, resolveDir), fileOf(path, root)];
      return wanted === found || wanted === undefined ? { path, external: true } : undefined;
    });
  },
});

/** The file that a package is when required from a directory; undefined where it cannot be required. */
function fileOf(name: string, directory: string): string | undefined {
  try {
    return createRequire(join(directory, 'main.js')).resolve(name);
  } catch {
    return undefined;
  }
}

/** The apps that run as processes. */
export function appNames(root: string): string[] {
  return readdirSync(join(root, 'apps')).filter((name) =>
    existsSync(join(root, 'apps', name, 'src', 'main.ts')),
  );
}

/** Bundles apps side by side and leaves no helper process of the bundler behind. */
export async function buildApps(root: string, names: readonly string[]): Promise<void> {
  try {
    await Promise.all(names.map((name) => buildApp(root, name)));
  } finally {
    await stop();
  }
}

/**
 * Bundles one app with the workspace libraries it uses into `dist/apps/<name>/main.js` (CommonJS), with its workers and
 * migrations beside it. Takes a fraction of a second. The new files take the place of the old ones at once, so that a system
 * that runs from them can start its processes again meanwhile.
 */
async function buildApp(root: string, name: string): Promise<void> {
  const source = join(root, 'apps', name);
  const finished = join(root, 'dist', 'apps', name);
  const output = `${finished}.${process.pid}`;
  const workers = readdirSync(join(source, 'src')).filter((file) => file.endsWith('-worker.ts'));
  rmSync(output, { recursive: true, force: true });
  await build({
    entryPoints: [join(source, 'src', 'main.ts'), ...workers.map((file) => join(source, 'src', file))],
    outdir: output,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    sourcemap: true,
    plugins: [keepPackagesOutside(root)],
    tsconfig: join(root, 'tsconfig.base.json'),
    absWorkingDir: root,
    logLevel: 'warning',
  });
  copyDirectory(join(source, 'migrations'), join(output, 'migrations'));
  if (existsSync(join(source, 'migrations')))
    for (const library of readdirSync(join(root, 'libs')))
      copyDirectory(join(root, 'libs', library, 'migrations'), join(output, `${library}-migrations`));
  replaceDirectory(finished, output);
}

function replaceDirectory(old: string, by: string): void {
  for (;;) {
    rmSync(old, { recursive: true, force: true });
    try {
      return renameSync(by, old);
    } catch (error) {
      // Another build put its directory there in between.
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    }
  }
}

function copyDirectory(from: string, to: string): void {
  if (existsSync(from)) cpSync(from, to, { recursive: true });
}
