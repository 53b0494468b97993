import { request, type IncomingMessage } from 'node:http';
import type { LoadJob } from './job.js';
import { tokenCounter } from './token-counter.js';

/** When the tokens of one reply came, milliseconds since its request. */
export interface ReplyTimes {
  readonly tokens: readonly number[];
  /** Why it failed; undefined when it came whole. */
  readonly error: string | undefined;
}

/** A reply that stands still for so long has failed. Milliseconds. */
const IDLE_TIMEOUT_MS = 120_000;

/** Requests one reply on a connection of its own. Never rejects. */
export function fetchReply(
  job: Omit<LoadJob, 'bodies' | 'keys' | 'streams'>,
  body: string,
  key?: string,
): Promise<ReplyTimes> {
  const headers = key === undefined ? job.headers : { ...job.headers, 'x-api-key': key };
  const began = performance.now();
  const tokens: number[] = [];
  const counter = tokenCounter(job.format);
  return new Promise((resolve) => {
    const done = (error?: string) => resolve({ tokens, error });
    const outgoing = request(job.url, {
      method: 'POST',
      agent: false,
      headers: { ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' },
      timeout: IDLE_TIMEOUT_MS,
    });
    outgoing.setNoDelay(true);
    outgoing.on('timeout', () => outgoing.destroy(new Error('stood still')));
    outgoing.on('error', (error) => done(reasonOf(error)));
    outgoing.on('response', (response) => {
      response.on('data', (chunk: Buffer) => {
        const now = performance.now() - began;
        for (let count = counter.count(chunk); count > 0; count -= 1) tokens.push(now);
      });
      response.on('error', (error) => done(reasonOf(error)));
      response.on('end', () => done(problemOf(response, counter.isWhole(response))));
    });
    outgoing.end(body);
  });
}

function problemOf({ statusCode }: IncomingMessage, whole: boolean): string | undefined {
  if (statusCode !== 200) return `status ${statusCode}`;
  return whole ? undefined : 'cut';
}

const reasonOf = (error: Error): string => (error as NodeJS.ErrnoException).code ?? error.message;
