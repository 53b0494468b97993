import type { IncomingHttpHeaders } from 'node:http';
import type { GenerateRequest, Trace } from '../contract.js';
import { LMServError } from '../errors.js';

/** Place among those that wait: batch work goes after everything that somebody waits for. */
const PRIORITIES: ReadonlyMap<string, number> = new Map([
  ['interactive', 0],
  ['batch', -1],
]);

const RESUME: ReadonlyMap<string, boolean> = new Map([
  ['on', true],
  ['off', false],
]);

/**
 * What a client may say of a generation by header, on every route: `X-Priority: batch` and `X-Reply-Resume: off`.
 *
 * @throws LMServError `invalid_value` naming the header.
 */
export function generationOptions(
  headers: IncomingHttpHeaders,
): Pick<GenerateRequest, 'priority' | 'resume'> {
  const priority = read(headers, 'X-Priority', PRIORITIES);
  const resume = read(headers, 'X-Reply-Resume', RESUME);
  return { ...(priority === undefined ? {} : { priority }), ...(resume === undefined ? {} : { resume }) };
}

/** How long a request waited for a slot, and the place it had in the queue when it had to wait. */
export function queueHeaders({ queueMs, queuePosition }: Readonly<Trace>): Record<string, string> {
  return {
    ...(queueMs === undefined ? {} : { 'X-Queue-Time-Ms': queueMs.toFixed(1) }),
    ...(queuePosition === undefined ? {} : { 'X-Queue-Position': String(queuePosition) }),
  };
}

function read<T>(headers: IncomingHttpHeaders, name: string, values: ReadonlyMap<string, T>): T | undefined {
  const given = headers[name.toLowerCase()];
  if (given === undefined) return undefined;
  const value = values.get(String(given).toLowerCase());
  if (value === undefined) {
    const known = [...values.keys()].join(' or ');
    throw new LMServError('invalid_value', `${name}: must be ${known}`, { param: name });
  }
  return value;
}
