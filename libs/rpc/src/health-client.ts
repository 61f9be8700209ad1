import { Fault } from '@headroom/resilience';
import { service } from 'grpc-health-check';
import { createRpcClient } from './client';
import type { AnyService } from './service-types';

export interface HealthClient {
  /** Resolves while the server says SERVING within `timeoutMs` (default 1000); rejects with `unavailable` otherwise. */
  check(timeoutMs?: number): Promise<void>;
  close(): void;
}

type HealthReply = { status: string };

/** Asks the standard health service (grpc.health.v1) of one server about the server as a whole. */
export function createHealthClient(options: { address: string }): HealthClient {
  const client = createRpcClient(service as unknown as AnyService, options);
  const ask = client['Check'] as unknown as (
    request: { service: string },
    call: { timeoutMs: number },
  ) => Promise<HealthReply>;
  return {
    async check(timeoutMs = 1_000) {
      const { status } = await ask({ service: '' }, { timeoutMs });
      if (status !== 'SERVING')
        throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
          detail: `${options.address} answers ${status}`,
        });
    },
    close: () => client.close(),
  };
}
