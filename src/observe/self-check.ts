import { get, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { json } from 'node:stream/consumers';
import type { AddressInfo } from 'node:net';
import { connectHost } from '../wire/address.js';
import type { Vitals } from './service-manager.js';

/** What of the health report is shown. */
interface Report {
  readonly status: string;
  readonly workers: { readonly total: number; readonly idle: number; readonly busy: number };
}

function describe({ status, workers }: Report): string {
  return `${status}: ${workers.idle + workers.busy} of ${workers.total} workers ready, ${workers.busy} busy`;
}

/**
 * Asks a server for its health as a client would, on a fresh connection. Any status is an answer.
 *
 * @param address null: it does not listen.
 * @param timeoutMs for the whole answer, milliseconds.
 * @returns undefined when no answer came in time.
 */
export async function checkSelf(address: AddressInfo | null, timeoutMs: number): Promise<Vitals | undefined> {
  if (address === null) return undefined;
  const where = {
    host: connectHost(address.address),
    port: address.port,
    path: '/health',
    agent: false,
  } as const;
  const headers = { Accept: 'application/json', Connection: 'close' };
  try {
    const request = get({ ...where, headers, signal: AbortSignal.timeout(timeoutMs) });
    // Where the time-out comes within the answer, that says so too.
    request.on('error', () => undefined);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { ready: response.statusCode === 200, status: describe((await json(response)) as Report) };
  } catch {
    return undefined;
  }
}
