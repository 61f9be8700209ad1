import { startSystem } from '@headroom/e2e';
import { openShopping, startOpenLoop } from '@headroom/load';
import { systemClock } from '@headroom/resilience';
import { adminSignIn, checkSystem, checkUnlimited } from '@headroom/shop-api';
import { readRunning, readSecrets, systemProcesses } from '@headroom/start';
import { MOST_HEAP_RATIO, soak, type Held } from './soak';
import type { Lab, LabResult } from './lab';

const MINUTE_MS = 60_000;
const mib = (bytes: number) => (bytes / 1024 / 1024).toFixed(1);

/** A system of its own, or with --data the one that runs there (started with RATE_LIMITS=off), at constant load: what every process holds after a collection must not grow. */
export const leaks: Lab = {
  id: 'M13',
  title: 'leaks: the heap of every process is flat under constant load',
  options: {
    minutes: { type: 'string', default: '10' },
    'per-second': { type: 'string', default: '40' },
    data: { type: 'string' },
  },
  async run({ values, say }) {
    const minutes = Number(values['minutes']);
    const perSecond = Number(values['per-second']);
    if (!(minutes >= 0.1 && perSecond > 0))
      throw new Error('--minutes and --per-second take positive numbers');
    if (values['data'] === undefined) {
      const system = await startSystem({ env: { LOG_LEVEL: 'warn' } });
      try {
        return await measure(system.dataDirectory, system.admin);
      } finally {
        await system.remove();
      }
    }
    const data = String(values['data']);
    return measure(data, adminSignIn({ data }, process.env));

    async function measure(
      dataDirectory: string,
      admin: { email: string; password: string },
    ): Promise<LabResult> {
      const running = readRunning(dataDirectory);
      const gateway = `http://127.0.0.1:${running.ports.gateway}`;
      await checkSystem({ gateway });
      await checkUnlimited(gateway);
      const processes = systemProcesses(running, readSecrets(dataDirectory, process.env).secrets).map(
        ({ name, opsPort }) => ({
          name,
          opsUrl: `http://127.0.0.1:${opsPort}`,
        }),
      );
      const clock = systemClock;
      const shopping = await openShopping({
        gateway,
        admin,
        customers: 20,
        clock,
      });
      say(
        `${perSecond} requests a second for ${minutes} minutes against ${processes.map(({ name }) => name).join(', ')}`,
      );
      const load = startOpenLoop({ actions: shopping.actions, perSecond, clock });
      const rows = await soak({
        processes,
        earlyAtMs: minutes * 0.3 * MINUTE_MS,
        lateAtMs: minutes * MINUTE_MS,
        clock,
        onLook(held: ReadonlyMap<string, Held>) {
          const { seconds, sent, failed } = load.report();
          say(
            `${seconds.toFixed(0).padStart(5)} s  ${sent} sent, ${failed} failed; heap MiB: ${[...held].map(([name, { heapBytes }]) => `${name} ${mib(heapBytes)}`).join(', ')}`,
          );
        },
      });
      const sent = await load.stop();
      await shopping.cleanUp();
      const table = rows.map(({ name, early, late, heapRatio, leak }) => ({
        process: name,
        'heap MiB early': mib(early.heapBytes),
        'heap MiB late': mib(late.heapBytes),
        ratio: heapRatio.toFixed(3),
        'external MiB': `${mib(early.externalBytes)} -> ${mib(late.externalBytes)}`,
        'RSS MiB': `${mib(early.residentBytes)} -> ${mib(late.residentBytes)}`,
        handles: `${early.handles} -> ${late.handles}`,
        verdict: leak ?? 'flat',
      }));
      sent.failures.forEach((failure) => say(`  ✗  ${failure}`));
      return {
        table,
        result: { rows, load: sent },
        summary: `${sent.sent} requests, ${sent.failed} failed, ${sent.dropped} dropped; heaps may grow ${MOST_HEAP_RATIO}x`,
        passed: rows.every(({ leak }) => leak === undefined) && sent.failed === 0,
      };
    }
  },
};
