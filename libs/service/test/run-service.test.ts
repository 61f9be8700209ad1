import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';

const children: ChildProcess[] = [];
afterAll(() => children.forEach((child) => child.kill('SIGKILL')));

function probe(env: Record<string, string>, ...arguments_: string[]) {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(__dirname, 'probe-service.ts'), ...arguments_],
    {
      env: { PATH: process.env['PATH'], DRAIN_SECONDS: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    },
  );
  children.push(child);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  // Not 'close': it never comes after this side has closed the IPC channel.
  const ended = [child.stdout!, child.stderr!].map(
    (stream) => new Promise((resolve) => stream.once('end', resolve)),
  );
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const exit = new Promise<number | null>((resolve) =>
    child.once('exit', (code) => void Promise.all(ended).then(() => resolve(code))),
  );
  const ready = new Promise<number>((resolve) =>
    child.once('message', (message: { opsPort: number }) => resolve(message.opsPort)),
  );
  return {
    child,
    exit,
    exited,
    ready,
    said: () =>
      output
        .split('\n')
        .filter((line) => line.startsWith('probe: '))
        .map((line) => line.slice(7)),
    output: () => output,
  };
}

it('stops roles, then closes what is owned, each in reverse order, and exits 0', async () => {
  const { child, ready, exit, said } = probe({ ANSWER: '42' });
  await ready;
  child.kill('SIGTERM');
  expect(await exit).toBe(0);
  expect(said()).toEqual(['answer 42', 'stopped relay', 'stopped api', 'closed client', 'closed database']);
});

it('runs only the roles that ROLE names, and refuses a role that does not exist', async () => {
  const only = probe({ ANSWER: '1', ROLE: 'relay' });
  await only.ready;
  only.child.kill('SIGTERM');
  await only.exit;
  expect(only.said()).toContain('stopped relay');
  expect(only.said()).not.toContain('stopped api');
  const wrong = probe({ ANSWER: '1', ROLE: 'rely' });
  expect(await wrong.exit).toBe(78);
  expect(wrong.output()).toContain('ROLE: found "rely", expected one of api, relay');
});

it('exits 78 and names the variable when the configuration is not valid', async () => {
  const { exit, output } = probe({ ANSWER: 'many' });
  expect(await exit).toBe(78);
  expect(output()).toContain('ANSWER: found "many"');
});

it('prints the effective configuration on demand', async () => {
  const { exit, output } = probe({ ANSWER: '7' }, '--print-config');
  expect(await exit).toBe(0);
  expect(output()).toContain('ANSWER=7');
});

it('runs one-off commands with the same configuration, and names the ones there are', async () => {
  const shout = probe({ ANSWER: '7' }, 'shout', 'hello');
  expect(await shout.exit).toBe(0);
  expect(shout.output()).toBe('hello 7!\n');
  const wrong = probe({ ANSWER: '7' }, 'whisper');
  expect(await wrong.exit).toBe(64);
  expect(wrong.output()).toContain('no command "whisper", only shout');
});

it('ends by itself when the process that started it is gone', async () => {
  const { child, ready, exit } = probe({ ANSWER: '1', DRAIN_SECONDS: '60' });
  await ready;
  child.disconnect();
  expect(await exit).toBe(0);
});

it('ends also when nobody reads its log any more', async () => {
  const { child, ready, exited } = probe({ ANSWER: '1' });
  await ready;
  child.stdout!.destroy();
  child.stderr!.destroy();
  child.disconnect();
  expect(await exited).toBe(0);
});

it('is alive and ready while a dependency is down: the deep check says degraded', async () => {
  const { child, ready, exit } = probe({ ANSWER: '1' });
  const ops = `http://127.0.0.1:${await ready}`;
  expect((await fetch(`${ops}/livez`)).status).toBe(200);
  expect((await fetch(`${ops}/readyz`)).status).toBe(200);
  const health = await fetch(`${ops}/health`);
  expect([health.status, await health.json()]).toMatchObject([
    200,
    { status: 'degraded', checks: { broker: { status: 'degraded', error: 'no broker' } } },
  ]);
  const metrics = await (await fetch(`${ops}/metrics`)).text();
  expect(metrics).toContain('nodejs_eventloop_utilization_ratio');
  if (process.platform === 'linux')
    expect(metrics).toMatch(/process_network_receive_bytes_total\{device="lo"[^}]*\} \d+/);
  child.kill('SIGTERM');
  await exit;
});

it('is not ready while it drains, and still alive', async () => {
  const { child, ready } = probe({ ANSWER: '1', DRAIN_SECONDS: '60' });
  const ops = `http://127.0.0.1:${await ready}`;
  child.kill('SIGTERM');
  let status = 200;
  while (status === 200) status = (await fetch(`${ops}/readyz`)).status;
  expect(status).toBe(503);
  expect((await fetch(`${ops}/livez`)).status).toBe(200);
});
