import { setTimeout as pause } from 'node:timers/promises';
import type { Endpoint } from './options.js';
import { fetchJson } from './child-http.js';

/** Between two looks; a model that takes longer for a token would have to be very slow. Milliseconds. */
const BETWEEN_MS = 400;

/** For both looks, milliseconds: a hang is to be known a second after its deadline. */
const LIMIT_MS = 750;

/**
 * Whether a worker that sends nothing still works: tokens that are no text, such as control tokens, make no event of a
 * stream, but the child counts them. One that is stopped or wedged does not answer at all.
 */
export async function slotsMove(endpoint: Endpoint): Promise<boolean> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  const look = async () => JSON.stringify(await fetchJson(endpoint, 'GET', '/slots', undefined, signal));
  try {
    const before = await look();
    await pause(BETWEEN_MS, undefined, { signal });
    return (await look()) !== before;
  } catch {
    return false;
  }
}
