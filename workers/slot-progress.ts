import { setTimeout as pause } from 'node:timers/promises';
import type { Endpoint } from './options.js';
import { fetchJson } from './child-http.js';

/** Interval between the two requests, milliseconds; only a very slow model takes longer for a token. */
const INTERVAL_MS = 400;

/** Max time for both requests, milliseconds, so that a hang is detected within a second after its deadline. */
const TIMEOUT_MS = 750;

/**
 * Whether a worker that sends nothing still generates. Tokens without text, such as control tokens, cause no event in
 * the stream, but `/slots` counts them. A stopped or hung worker does not reply at all.
 */
export async function areSlotsAdvancing(endpoint: Endpoint): Promise<boolean> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const readSlots = async () => JSON.stringify(await fetchJson(endpoint, 'GET', '/slots', undefined, signal));
  try {
    const before = await readSlots();
    await pause(INTERVAL_MS, undefined, { signal });
    return (await readSlots()) !== before;
  } catch {
    return false;
  }
}
