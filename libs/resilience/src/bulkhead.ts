import { Fault } from './fault';

/**
 * At most `concurrency` runs at once and at most `queue` callers waiting; the next one is refused with an `overloaded`
 * fault instead of being accepted late. Waiters run in order of arrival.
 */
export class Bulkhead {
  private running = 0;
  private readonly waiting: Array<() => void> = [];

  constructor(private readonly options: { concurrency: number; queue: number; retryAfterSeconds?: number }) {}

  get queued(): number {
    return this.waiting.length;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.running < this.options.concurrency) this.running += 1;
    else if (this.waiting.length >= this.options.queue)
      throw new Fault('overloaded', 'OVERLOADED', { retryAfterSeconds: this.options.retryAfterSeconds ?? 1 });
    else await new Promise<void>((admit) => this.waiting.push(admit));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next)
        next(); // the slot passes on, so `running` stays
      else this.running -= 1;
    }
  }
}
