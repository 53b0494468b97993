/**
 * Runs `work` once at a time: calls during a run share the single run that follows it, so each call is covered by a run
 * that began after it. Rejects as that run does.
 */
export function coalesce(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  const run = (): Promise<void> => {
    next = undefined;
    running = work();
    return running;
  };
  return () => (next ??= running.then(run, run));
}
