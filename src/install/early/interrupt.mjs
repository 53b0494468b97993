/** Ctrl-C and SIGTERM while preparing: everything that was started is told to end, locks are given back. */
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs a task with an AbortSignal that a terminating signal fires. Then the process exits as if killed by it; a
 * second signal exits at once. Afterwards signals are as they were before.
 */
export async function interruptible(task) {
  const controller = new AbortController();
  let received;
  const onSignal = (name) => {
    if (received) process.exit(128 + constants.signals[name]);
    received = name;
    controller.abort(new Error(`Interrupted by ${name}`));
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    return await task(controller.signal);
  } catch (error) {
    if (!received) throw error;
    process.stderr.write('\nInterrupted. The same command goes on where this stopped.\n');
    process.exit(128 + constants.signals[received]);
  } finally {
    for (const name of SIGNALS) process.removeListener(name, onSignal);
  }
}
