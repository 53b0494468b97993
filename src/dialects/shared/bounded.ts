import { Script } from 'node:vm';

const script = new Script('run()');

/** Thrown by `bounded` when the time is up. */
export class TimeUp extends Error {
  override readonly name = 'TimeUp';
}

/**
 * Runs synchronous work that a client's input decides about, and ends it when it takes too long: V8 can interrupt a
 * script of `node:vm` anywhere, also inside a regular expression.
 *
 * @param ms the longest it may hold up everything else, milliseconds.
 * @throws TimeUp, or what `run` throws.
 */
export function bounded<T>(run: () => T, ms: number): T {
  try {
    return script.runInNewContext({ run }, { timeout: ms }) as T;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new TimeUp();
    throw error;
  }
}
