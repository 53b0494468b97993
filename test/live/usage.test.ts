import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { addKey } from '../../src/accounts/keys/manage.js';
import { chunkTexts, Exchange, get, json, lines, sseData, type Reply } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { demoModel, ENDLESS, killWorkersUntil, LIVE_KEY, LiveProcess, writeConfig } from '../support/live.js';
import { CHAT, DISH as dish, messages } from './requests.js';

/** What a thousand clients counted is what GET /usage says, and it is still there after kill -9. On real llama.cpp. */

const TOTAL = 1_000;
const PRICE = { prompt: 0.5, completion: 2 };

const NONE = { requests: 0, prompt_tokens: 0, completion_tokens: 0, cancelled: 0, broken: 0, refused: 0 };
type Counts = typeof NONE;

/** What the clients counted, by tenant. */
const ledger: Record<string, Counts> = {};

function note(tenant: string, counts: Partial<Counts>): void {
  const sum = (ledger[tenant] ??= { ...NONE });
  sum.requests += 1;
  for (const [field, count] of Object.entries(counts)) sum[field as keyof Counts] += count;
}

const system = { role: 'system', content: 'You are a helpful assistant.' };
const raw = 'Once upon a time';
/** On a model that does not end by itself. */
const endless = { model: 'endless', temperature: 0, max_tokens: 3_000 };

const sse = ({ text }: Pick<Reply, 'text'>): any[] => sseData(text).filter((event) => event !== '[DONE]');

/** The tokens of a streamed reply: one a chunk, and one that ended the turn where it was not cut short. */
const tokens = (chunks: number, reason: string): number => chunks + (reason === 'stop' ? 1 : 0);

/** The prompt is the same each time, so its tokens are known from the first reply that told them. */
type Prompt = 'chat' | 'user' | 'raw';
const promptTokens = {} as Record<Prompt, number>;

interface Kind {
  readonly path: string;
  readonly body: object;
  readonly prompt: Prompt;
  /** Completion tokens as the client sees them. */
  readonly count: (reply: Reply) => number;
  /** The tenant is named by the request, not by the key. */
  readonly tenant?: string;
}

const deltas = (reply: Pick<Reply, 'text'>): number =>
  sse(reply).filter(({ choices }) => choices?.[0]?.delta?.content || choices?.[0]?.text).length;
const sseReason = (reply: Reply): string =>
  sse(reply).findLast(({ choices }) => choices[0]?.finish_reason).choices[0].finish_reason;
const usageOf = (reply: Reply): number => json(reply).usage.completion_tokens;
/** `/llm` tells no usage, but a reply that was cut has what was asked for. */
const cutAt = (most: number) => (reply: Reply) => {
  expect(json(reply).finish_reason).toBe('length');
  return most;
};

const brief = { temperature: 0, max_tokens: 4 };

const KINDS: Kind[] = [
  {
    ...{ path: '/chat', body: { prompt: dish, ...brief }, prompt: 'chat' },
    count: (reply) => tokens(reply.chunks.length, reply.trailers['x-finish-reason']!),
  },
  { path: '/llm', body: { prompt: raw, ...brief }, prompt: 'raw', count: cutAt(4) },
  {
    ...{ path: '/llm', prompt: 'user', count: cutAt(3) },
    body: { task: 'chat_completion', input: { prompt: dish }, max_tokens: 3 },
  },
  {
    ...{ path: '/complete', prompt: 'user', count: usageOf, tenant: 'acme' },
    body: { model: 'quality', messages, ...brief },
  },
  {
    ...{ path: '/complete/stream', prompt: 'user', tenant: 'zeta' },
    body: { model: 'fast', messages, temperature: 0 },
    count: (reply) => tokens(chunkTexts(reply).length, lines(reply).at(-1).finish_reason ?? 'stop'),
  },
  {
    ...{ path: '/execute', prompt: 'user', count: usageOf },
    body: { prompt: dish, config: { max_tokens: 4, temperature: 0 } },
  },
  { path: CHAT, body: { messages, ...brief }, prompt: 'user', count: usageOf },
  { path: CHAT, body: { messages, ...brief, n: 2 }, prompt: 'user', count: usageOf },
  {
    ...{ path: CHAT, prompt: 'user', body: { messages, temperature: 0, stream: true } },
    count: (reply) => tokens(deltas(reply), sseReason(reply)),
  },
  {
    ...{ path: CHAT, prompt: 'user' },
    body: { messages, ...brief, stream: true, stream_options: { include_usage: true } },
    count: (reply) => sse(reply).at(-1).usage.completion_tokens,
  },
  { path: '/v1/completions', body: { prompt: raw, ...brief }, prompt: 'raw', count: usageOf },
  {
    ...{ path: '/v1/completions', body: { prompt: raw, ...brief, stream: true }, prompt: 'raw' },
    count: (reply) => tokens(deltas(reply), sseReason(reply)),
  },
];

/** Those that end by themselves on a model that does not. */
const BRIEF = KINDS.filter(({ body }) => JSON.stringify(body).includes('max_tokens'));

/** Streams that are stopped in the middle; a chunk is a token. */
const STREAMS: Pick<Kind, 'path' | 'body' | 'prompt' | 'tenant'>[] = [
  { path: '/chat', body: { prompt: dish, ...endless }, prompt: 'chat' },
  { path: '/complete/stream', body: { messages, ...endless }, prompt: 'user', tenant: 'acme' },
  { path: CHAT, body: { messages, ...endless, stream: true }, prompt: 'user' },
  { path: '/v1/completions', body: { prompt: raw, ...endless, stream: true }, prompt: 'raw' },
];

const folder = newFolder();
let server: LiveProcess;
/** By name; each spends for its own name. */
const keys: Record<string, string> = {};
const env: Record<string, string> = {};

const started = (key: string, { path, body, tenant }: Pick<Kind, 'path' | 'body' | 'tenant'>): Exchange =>
  new Exchange(server.url + path, {
    headers: { 'X-API-Key': key },
    body: { ...body, ...(tenant === undefined ? {} : { tenant_id: tenant }) },
  });

const usage = async (query = ''): Promise<any> =>
  json(await get(`${server.url}/usage${query}`, { 'X-API-Key': LIVE_KEY }));

/** Each tenant's counts as the server has them. */
async function counted(): Promise<Record<string, Counts>> {
  const sums: Record<string, Counts> = {};
  for (const { tenant, model, day: _, cost, ...counts } of (await usage()).usage) {
    expect(['demo', 'endless']).toContain(model);
    const { prompt_tokens, completion_tokens } = counts;
    expect(cost).toBeCloseTo((prompt_tokens * PRICE.prompt + completion_tokens * PRICE.completion) / 1000, 9);
    const sum = (sums[tenant] ??= { ...NONE });
    for (const [field, count] of Object.entries(counts)) sum[field as keyof Counts] += count as number;
  }
  return sums;
}

const logged = (): any[] =>
  server.logged('request').filter(({ route }) => route !== '/ready' && route !== '/usage');
const untilLogged = (count: number): Promise<unknown> =>
  server.until('request', () => logged().length >= count);

/** The tokens a stopped stream has delivered, each in a chunk of its own. */
const delivered = ({ path }: { path: string }, text: string, chunks: number): number => {
  if (path === '/chat') return chunks;
  if (path === '/complete/stream') return text.split('\n').filter((line) => line.includes('"chunk"')).length;
  return deltas({ text });
};

/** Starts the server and waits for the worker of each model. */
async function start(): Promise<LiveProcess> {
  const started = await LiveProcess.start(folder, env);
  await started.untilReady(({ workers }) => workers.idle === 2);
  return started;
}

beforeAll(async () => {
  const keysFile = join(folder, 'keys.json');
  for (const name of ['anna', 'bert', 'cleo']) {
    keys[name] = (await addKey(keysFile, { name, tenants: ['acme', 'zeta'] })).key;
  }
  const config = writeConfig(folder, {
    models: {
      demo: demoModel({ slots: 4, price: PRICE }),
      endless: demoModel({ slots: 4, price: PRICE, extraArgs: [ENDLESS] }),
    },
  });
  // A reply that broke is to be counted as broken.
  Object.assign(env, { API_KEYS_FILE: keysFile, LMSERV_CONFIG: config, REPLY_RESUME: 'off' });
  server = await start();
});

afterAll(() => server.kill());

/** Runs jobs, so many at a time. */
async function inParallel(width: number, jobs: (() => Promise<void>)[]): Promise<void> {
  const left = [...jobs];
  const work = async (): Promise<void> => {
    for (let job = left.pop(); job; job = left.pop()) await job();
  };
  await Promise.all(Array.from({ length: width }, work));
}

/** What a client has read when a stopped worker's last tokens have come through: the server has been round its loop. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await get(`${server.url}/ready`);
}

const endlessPids = (): number[] => server.workerPids('endless');

/** Begins the four streams and leaves them without another token, all that was generated delivered. */
async function pausedStreams(name: string): Promise<Exchange[]> {
  const running = STREAMS.map((stream) => started(keys[name]!, stream));
  await Promise.all(running.map((stream) => stream.firstChunk()));
  for (const pid of endlessPids()) {
    process.kill(pid, 'SIGSTOP');
    while (!/\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await new Promise(setImmediate);
  }
  await settled();
  return running;
}

/** Notes what became of the four streams. */
function noteStreams(name: string, outcome: 'cancelled' | 'broken', running: readonly Exchange[]): void {
  for (const [i, stream] of STREAMS.entries()) {
    note(stream.tenant ?? name, {
      prompt_tokens: promptTokens[stream.prompt],
      completion_tokens: delivered(stream, running[i]!.received, running[i]!.chunks),
      [outcome]: 1,
    });
  }
}

async function learnPrompts(): Promise<void> {
  const chat = (content: string, ...before: object[]) => ({
    path: CHAT,
    body: { messages: [...before, { role: 'user', content }], ...brief },
  });
  const asked: Record<Prompt, Pick<Kind, 'path' | 'body'>> = {
    chat: chat(dish, system),
    user: chat(dish),
    raw: { path: '/v1/completions', body: { prompt: raw, ...brief } },
  };
  for (const [prompt, request] of Object.entries(asked)) {
    const { prompt_tokens, completion_tokens } = json(await started(keys.anna!, request).reply).usage;
    promptTokens[prompt as Prompt] = prompt_tokens;
    note('anna', { prompt_tokens, completion_tokens });
  }
}

/** Eight requests of which four are cancelled in the middle and four in the queue. */
async function cancelled(name: string): Promise<void> {
  const { length } = logged();
  const running = await pausedStreams(name);
  const waiting = STREAMS.map((stream) => started(keys[name]!, stream));
  await server.untilReady(({ queue }) => queue.waiting === waiting.length);
  for (const stream of [...running, ...waiting]) stream.abort();
  await untilLogged(length + running.length + waiting.length);
  for (const pid of endlessPids()) process.kill(pid, 'SIGCONT');
  noteStreams(name, 'cancelled', running);
  for (const stream of STREAMS) note(stream.tenant ?? name, { cancelled: 1 });
  await server.untilReady(({ slots }) => slots.idle === slots.total);
}

/** Four streams whose worker is killed in the middle; what waited behind them is served by the next worker. */
async function broken(name: string): Promise<void> {
  const running = STREAMS.map((stream) => started(keys[name]!, stream));
  await Promise.all(running.map((stream) => stream.firstChunk()));
  const behind = BRIEF.map((kind) => () => plain(name, onEndless(kind)));
  const served = inParallel(behind.length, behind);
  await server.untilReady(({ queue }) => queue.waiting > 0);
  for (const pid of endlessPids()) process.kill(pid, 'SIGKILL');
  const replies = await Promise.all(running.map(({ reply }) => reply));
  expect(replies.map(({ cut }) => cut)).toEqual([true, false, false, false]);
  noteStreams(name, 'broken', running);
  await served;
}

/** The same request to the other model. */
function onEndless(kind: Kind): Kind {
  const { config } = kind.body as { config?: object };
  const body = config
    ? { ...kind.body, config: { ...config, model_name: 'endless' } }
    : { ...kind.body, model: 'endless' };
  return { ...kind, body };
}

async function plain(name: string, kind: Kind): Promise<void> {
  const reply = await started(keys[name]!, kind).reply;
  expect([kind.path, reply.status, reply.cut]).toEqual([kind.path, 200, false]);
  note(kind.tenant ?? name, {
    prompt_tokens: promptTokens[kind.prompt],
    completion_tokens: kind.count(reply),
  });
}

/** Replies in one piece that never came: nothing of them was delivered. How far their prompts got, no client can see. */
async function undelivered(name: string): Promise<void> {
  const request = { path: CHAT, body: { messages, ...endless } };
  const failed = await killWorkersUntil(server, started(keys[name]!, request).reply);
  expect(failed.status).toBe(500);
  note(name, { refused: 1 });
  await server.untilReady(({ workers }) => workers.idle === 2);
  const { length } = logged();
  const running = started(keys[name]!, request);
  await server.untilReady(({ workers }) => workers.busy === 1);
  running.abort();
  await untilLogged(length + 1);
  note(name, { cancelled: 1 });
  const tooLong = { path: '/llm', body: { prompt: 'word '.repeat(8_000) } };
  expect((await started(keys[name]!, tooLong).reply).status).toBe(400);
  note(name, { refused: 1 });
}

const requestsSoFar = (): number => Object.values(ledger).reduce((sum, { requests }) => sum + requests, 0);

/** The server has what the clients have; how far the prompts of replies that never came got, no client can see. */
async function expectTheSame(): Promise<void> {
  const { cleo, ...others } = await counted();
  expect({ ...others, cleo: { ...cleo!, prompt_tokens: 0 } }).toEqual(ledger);
}

/** Resolves when so many requests are in the file itself, as another process sees it. */
async function untilOnDisk(requests: number): Promise<void> {
  const database = new Database(join(folder, 'usage.sqlite'), { readonly: true });
  try {
    const sum = database.prepare('SELECT sum(requests) AS requests FROM usage');
    while ((sum.get() as { requests: number }).requests < requests) await new Promise(setImmediate);
  } finally {
    database.close();
  }
}

test('a thousand mixed requests are counted as their clients counted them, and are still there after kill -9', async () => {
  await learnPrompts();
  for (let round = 0; round < 8; round += 1) await cancelled(['anna', 'bert'][round % 2]!);
  for (let round = 0; round < 4; round += 1) await broken(['anna', 'bert'][round % 2]!);
  await undelivered('cleo');
  const rest = Array.from(
    { length: TOTAL - requestsSoFar() },
    (_, i) => () => plain(['anna', 'bert'][i % 2]!, KINDS[i % KINDS.length]!),
  );
  await inParallel(16, rest);
  await untilLogged(TOTAL);
  expect([logged().length, requestsSoFar()]).toEqual([TOTAL, TOTAL]);
  expect(Object.keys(ledger).sort()).toEqual(['acme', 'anna', 'bert', 'cleo', 'zeta']);
  await expectTheSame();

  await plain('anna', KINDS[0]!);
  // Nobody has asked for the usage since: it gets to the disk by itself.
  await untilOnDisk(TOTAL + 1);
  await server.kill();
  server = await start();
  await expectTheSame();
  await plain('bert', KINDS[0]!);
  await untilLogged(1);
  await expectTheSame();
});
