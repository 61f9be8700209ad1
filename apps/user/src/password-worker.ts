import { hashSync, verifySync } from '@node-rs/argon2';
import { parentPort } from 'node:worker_threads';

/** One thread of the password pool: hashes or verifies one password at a time, and keeps the rest of the process free. */
export type PasswordJob = { password: string; verify?: string };
export type PasswordResult = { value: string | boolean } | { error: string };

/** Argon2id by OWASP's "Password Storage Cheat Sheet": 19 MiB, two passes, one lane. The salt is random, 16 bytes. */
const PARAMETERS = { algorithm: 2, memoryCost: 19_456, timeCost: 2, parallelism: 1 };

parentPort?.on('message', ({ password, verify }: PasswordJob) => {
  let result: PasswordResult;
  try {
    result = {
      value: verify === undefined ? hashSync(password, PARAMETERS) : verifySync(verify, password),
    };
  } catch (error) {
    result = { error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(result);
});
