import { readFileSync } from 'node:fs';

/**
 * Calls `gone` once when whoever started this command has died without telling: the launcher (its IPC channel closes), or
 * the npm that runs the script (looked for among the ancestors, asked once a second).
 */
export function watchStarter(gone: () => void): void {
  let told = false;
  const tell = () => {
    if (!told) gone();
    told = true;
  };
  if (process.connected) process.on('disconnect', tell);
  const npm = process.env['npm_execpath'] ? npmAncestor() : undefined;
  if (npm !== undefined) setInterval(() => identity(npm.pid) === npm.identity || tell(), 1_000).unref();
}

function npmAncestor(): { pid: number; identity: string } | undefined {
  for (let pid = process.ppid; pid > 1;) {
    const stat = read(`/proc/${pid}/stat`);
    if (stat === undefined) return undefined;
    if (/\bnpm\b/.test(read(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ') ?? ''))
      return { pid, identity: identity(pid)! };
    pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  }
  return undefined;
}

/** The process's start time: a pid that was given to another process is not the same. A zombie counts as gone. */
function identity(pid: number): string | undefined {
  const fields = read(`/proc/${pid}/stat`)
    ?.replace(/^.*\) /s, '')
    .split(' ');
  return fields && fields[0] !== 'Z' ? fields[19] : undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
