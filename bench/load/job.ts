import { type IncomingMessage, request } from 'node:http';

/** Requests, as many at a time as there are streams; each stream takes the next when its last has ended. */
export interface LoadJob {
  /** Where to post. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** One for each reply. */
  readonly bodies: readonly string[];
  /** An API key for each body; by default the one in `headers`. */
  readonly keys?: readonly string[] | undefined;
  readonly streams: number;
  readonly format: ReplyFormat;
}

/** `sse`: events of OpenAI's chat completions. `text`: plain text, one HTTP chunk per token. */
export type ReplyFormat = 'sse' | 'text';

/** Times are milliseconds. */
export interface LoadResult {
  /** From the first request to the last byte. */
  readonly wallMs: number;
  /** Whole replies. */
  readonly replies: number;
  /** Token events of all replies. */
  readonly events: number;
  /** How many replies failed, by reason. */
  readonly errors: Readonly<Record<string, number>>;
  /** From each request to its first token. */
  readonly firstTokenMs: Float64Array;
  /** From each token to the next; tokens that arrive together are 0 apart. */
  readonly gapMs: Float64Array;
}

/** Counts tokens in a reply as it arrives, with as little work as possible: the load client shares the machine. */
interface TokenCounter {
  /** @returns how many tokens the chunk completes. */
  count(chunk: Buffer): number;
  /** Whether the reply, which has ended, reached its number of tokens. */
  isWhole(response: IncomingMessage): boolean;
}

export function tokenCounter(format: ReplyFormat): TokenCounter {
  return format === 'sse' ? new EventCounter() : new ChunkCounter();
}

const TOKEN = '"delta":{"content":"';
const REACHED_LENGTH = '"finish_reason":"length"';
/** One less than the longest mark: a chunk may end with the beginning of one. */
const CARRY = REACHED_LENGTH.length - 1;

/** Searches for the marks of OpenAI's events, even across chunks; parses nothing. */
class EventCounter implements TokenCounter {
  #carry = '';
  #whole = false;

  count(chunk: Buffer): number {
    const text = this.#carry + chunk.toString('latin1');
    const before = occurrences(this.#carry, TOKEN);
    this.#whole ||= text.includes(REACHED_LENGTH);
    this.#carry = text.slice(-CARRY);
    return occurrences(text, TOKEN) - before;
  }

  isWhole(): boolean {
    return this.#whole;
  }
}

function occurrences(text: string, mark: string): number {
  let count = 0;
  for (let at = text.indexOf(mark); at !== -1; at = text.indexOf(mark, at + mark.length)) count += 1;
  return count;
}

/** Node's parser emits each HTTP chunk separately. */
class ChunkCounter implements TokenCounter {
  count(): number {
    return 1;
  }

  isWhole(response: IncomingMessage): boolean {
    return response.trailers['x-finish-reason'] === 'length';
  }
}

/** When the tokens of one reply came, milliseconds since its request. */
interface ReplyTimes {
  readonly tokens: readonly number[];
  /** Why it failed; undefined if it is whole. */
  readonly error: string | undefined;
}

/** A reply without progress for this time has failed, milliseconds. */
const IDLE_TIMEOUT_MS = 120_000;

/** Sends a request on its own connection. Never rejects. */
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
    outgoing.on('timeout', () => outgoing.destroy(new Error('no progress')));
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

/** Sends all requests of a job and adds up the results. */
export async function runJob(job: LoadJob): Promise<LoadResult> {
  const replies: ReplyTimes[] = [];
  const bodies = job.bodies.entries();
  const began = performance.now();
  const stream = async () => {
    for (const [index, body] of bodies) replies.push(await fetchReply(job, body, job.keys?.[index]));
  };
  await Promise.all(Array.from({ length: job.streams }, stream));
  return { ...total(replies), wallMs: performance.now() - began };
}

/** A failed reply counts only as an error. */
function total(replies: readonly ReplyTimes[]): Omit<LoadResult, 'wallMs'> {
  const whole = replies.filter(({ error }) => error === undefined);
  return {
    replies: whole.length,
    events: whole.reduce((sum, { tokens }) => sum + tokens.length, 0),
    errors: countBy(replies.flatMap(({ error }) => error ?? [])),
    firstTokenMs: Float64Array.from(whole.flatMap(({ tokens }) => tokens[0] ?? [])),
    gapMs: Float64Array.from(whole.flatMap(({ tokens }) => gaps(tokens))),
  };
}

function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((time, index) => time - times[index]!);
}

function countBy(reasons: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}
