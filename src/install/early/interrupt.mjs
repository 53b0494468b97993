/** Ctrl-C and SIGTERM while a command works: it stops what it started and releases its locks. */
import { constants } from 'node:os';
import './terminal.mjs';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const RESUMES = 'The same command continues where this one stopped.';

/**
 * Runs a task with an AbortSignal that a terminating signal aborts. When the task then rejects, the process exits as if
 * killed by that signal; a task that resolves instead has ended early in good order. A second signal exits at once.
 * @param hint what the user reads at the first signal
 */
export async function interruptible(task, hint = RESUMES) {
  const controller = new AbortController();
  let received;
  const onSignal = (name) => {
    if (received) process.exit(128 + constants.signals[name]);
    received = name;
    process.stderr.write(`\nInterrupted. ${hint}\n`);
    controller.abort(new Error(`Interrupted by ${name}`));
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    return await task(controller.signal);
  } catch (error) {
    if (!received) throw error;
    process.exit(128 + constants.signals[received]);
  } finally {
    for (const name of SIGNALS) process.removeListener(name, onSignal);
  }
}
