import type { OpenReply } from '../contract.js';

/**
 * Runs a reply and resolves when `run` calls `begun`, which it does with the first token, or when `run` ends without it.
 *
 * @throws what `run` throws before that; later failures reject `done`.
 */
export function opening(run: (begun: () => void) => Promise<void>): Promise<OpenReply> {
  return new Promise((resolve, reject) => {
    const done = run(() => resolve({ done }));
    done.then(() => resolve({ done }), reject);
  });
}
