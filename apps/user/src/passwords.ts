import { Bulkhead } from '@headroom/resilience';
import { fault } from '@headroom/contracts';
import { gauge } from '@headroom/telemetry';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import type { PasswordJob, PasswordResult } from './password-worker';

const setQueued = gauge({
  name: 'user_password_queue',
  help: 'Sign-ins and registrations that wait for a thread of the password pool',
});

export interface Passwords {
  /** A hash to keep. Throws `OVERLOADED` when too many wait, and `timeout` when `signal` aborts before it is this one's turn. */
  hash(password: string, signal?: AbortSignal): Promise<string>;
  /** Whether `password` made `hash`; without a hash it takes the same time and is false. Faults as `hash`. */
  verify(hash: string | undefined, password: string, signal?: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * Hashes passwords with argon2id on threads of its own, so that neither the event loop nor the thread pool that DNS, files
 * and other crypto share ever waits for it. One job per thread at a time, of 7 to 17 ms (measured in 2026-11 on a shared core); a bounded queue.
 * A thread that dies fails its job and is replaced.
 */
export async function openPasswords(options: { threads?: number; queue?: number } = {}): Promise<Passwords> {
  const threads = options.threads ?? Math.max(1, Math.min(8, availableParallelism() - 1));
  const admission = new Bulkhead({ concurrency: threads, queue: options.queue ?? threads * 96 });
  const idle: Worker[] = [];
  const all = new Set<Worker>();
  let closed = false;

  const start = () => {
    const worker = new Worker(...workerSource());
    worker.unref();
    all.add(worker);
    idle.push(worker);
    worker.on('error', () => undefined); // 'exit' follows
    worker.on('exit', () => {
      all.delete(worker);
      const index = idle.indexOf(worker);
      if (index >= 0) idle.splice(index, 1);
      if (!closed) start();
    });
  };
  for (let count = 0; count < threads; count += 1) start();

  const perform = async (job: PasswordJob, signal: AbortSignal | undefined) => {
    const work = admission.run(async () => {
      setQueued({}, admission.queued);
      if (signal?.aborted) throw fault('DEPENDENCY_UNAVAILABLE', { kind: 'timeout', retryAfterSeconds: 1 });
      const worker = idle.pop();
      if (!worker) throw fault('OVERLOADED', { retryAfterSeconds: 1 });
      return runJob(worker, job, () => void idle.push(worker));
    });
    setQueued({}, admission.queued);
    return work;
  };
  const close = async () => {
    closed = true;
    await Promise.all([...all].map((worker) => worker.terminate()));
  };
  const decoy = await perform({ password: randomBytes(16).toString('hex') }, undefined).then(
    String,
    async (error: unknown) => {
      await close();
      throw error;
    },
  );

  return {
    hash: async (password, signal) => String(await perform({ password }, signal)),
    async verify(hash, password, signal) {
      const matches = (await perform({ password, verify: hash ?? decoy }, signal)) === true;
      return matches && hash !== undefined;
    },
    close,
  };
}

function runJob(worker: Worker, job: PasswordJob, done: () => void): Promise<string | boolean> {
  return new Promise((resolve, reject) => {
    const answered = (result: PasswordResult) => {
      worker.off('exit', died);
      done();
      if ('error' in result) reject(new Error(`hashing failed: ${result.error}`));
      else resolve(result.value);
    };
    const died = () => {
      worker.off('message', answered);
      reject(fault('OVERLOADED', { detail: 'a password thread ended', retryAfterSeconds: 1 }));
    };
    worker.once('message', answered);
    worker.once('exit', died);
    worker.postMessage(job);
  });
}

/** Beside the bundle in a build; in the sources Node strips the types itself, and need not say that it does. */
function workerSource(): [file: string, options: WorkerOptions] {
  const built = join(__dirname, 'password-worker.js');
  if (existsSync(built)) return [built, {}];
  const execArgv = ['--disable-warning=MODULE_TYPELESS_PACKAGE_JSON'];
  return [join(__dirname, 'password-worker.ts'), { execArgv }];
}
