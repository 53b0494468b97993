import { ChaosError } from './errors.js';

/** Runs something that Ctrl-C ends: the first one early, with what has been found, the second at once. */
export async function interruptible(run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(130);
    process.stderr.write('\nEnding early; once more to end at once.\n');
    stop.abort(new ChaosError('ended before it began'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    await run(stop.signal);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
