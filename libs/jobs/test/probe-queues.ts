import type { QueueOptions } from '../src/index';

const queue: QueueOptions = { retryLimit: 1, retryDelaySeconds: 1, expireInSeconds: 45, maxQueued: 10 };

/** The queues of the crash tests: jobs of one lose their process, those of the other a process that wakes up again. */
export const probeQueues = { killed: queue, frozen: queue };
