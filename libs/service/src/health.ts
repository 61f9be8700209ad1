import { withTimeout } from '@headroom/resilience';

export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy';

export interface HealthCheck {
  name: string;
  /** What it means for this process when the check fails. */
  severity: 'degraded' | 'unhealthy';
  /** Resolves when all is well; may return details for the operations port. Rejects otherwise. */
  check(): Promise<Record<string, unknown> | void>;
  /** Budget in milliseconds, default 1000. */
  timeoutMs?: number;
}

export interface HealthReport {
  status: HealthStatus;
  checks: Record<
    string,
    { status: HealthStatus; durationMs: number; error?: string; details?: Record<string, unknown> }
  >;
}

/** Runs all checks side by side, each within its own budget; the worst result is the status. */
export async function runHealthChecks(checks: readonly HealthCheck[]): Promise<HealthReport> {
  const report: HealthReport = { status: 'healthy', checks: {} };
  const rank = { healthy: 0, degraded: 1, unhealthy: 2 };
  await Promise.all(
    checks.map(async (each) => {
      const start = performance.now();
      const took = () => Math.round(performance.now() - start);
      try {
        const details = await withTimeout(Promise.resolve(each.check()), each.timeoutMs ?? 1_000, each.name);
        report.checks[each.name] = { status: 'healthy', durationMs: took(), ...(details ? { details } : {}) };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        report.checks[each.name] = { status: each.severity, durationMs: took(), error: message };
        if (rank[each.severity] > rank[report.status]) report.status = each.severity;
      }
    }),
  );
  return report;
}
