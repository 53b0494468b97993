/**
 * Runs `work` one at a time. Calls during a run share the single run that follows it, so each call is covered by a run
 * that started after it. Rejects if that run rejects.
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
