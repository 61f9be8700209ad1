/**
 * Waits until `check` stops throwing, looking every 20 ms, and gives its result; after `timeoutMs` (default 10 s) its last
 * error is thrown. For effects that other processes bring about in their own time.
 */
export async function eventually<T>(check: () => Promise<T> | T, timeoutMs = 10_000): Promise<T> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
