import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exchange, json, type Reply } from '../support/exchange.js';
import { ENDLESS, killWorkersUntil, LiveServer } from '../support/live.js';
import { CHAT } from './requests.js';

/** A word of its own in each of 1,000 requests: none may turn up anywhere but in its own reply. On real llama.cpp. */

const REQUESTS = 1_000;
const AT_ONCE = 12;

const CANARY = /zq[0-9a-f]{12}/g;
const newCanary = () => `zq${randomBytes(6).toString('hex')}`;

const KEYS = Array.from({ length: 5 }, () => `lms_${randomBytes(16).toString('hex')}`);

/** What would reach the state of others if a child got to see it. */
const REACHING = {
  ...{
    id_slot: 0,
    slot_id: 0,
    cache_prompt: true,
    n_keep: -1,
    n_cache_reuse: 1,
    lora: [{ id: 0, scale: 1 }],
  },
  ...{ session_id: 'shared', conversation_id: 'shared', return_tokens: true, response_fields: ['prompt'] },
  ...{ post_sampling_probs: true, timings_per_token: true, verbose: true, __verbose: true },
};

type Ask = [path: string, body: object];

/** All routes, streamed and not, and requests that are refused at each stage. */
const ASKS: ((canary: string) => Ask)[] = [
  (prompt) => ['/chat', { prompt, max_tokens: 4 }],
  (prompt) => ['/llm', { prompt, max_tokens: 4 }],
  (prompt) => ['/llm', { task: 'chat_completion', input: { prompt }, max_tokens: 4 }],
  (text) => ['/llm', { task: 'classify_email', input: { [text]: text }, max_tokens: 4 }],
  (prompt) => ['/execute', { prompt, config: { max_tokens: 4, task_type: prompt } }],
  (canary) => ['/complete', { model: 'quality', tenant_id: 'shared', ...said(canary) }],
  (canary) => ['/complete/stream', { model: 'fast', ...said(canary) }],
  (canary) => [CHAT, { ...said(canary), user: canary, metadata: { a: canary } }],
  (canary) => [CHAT, { ...said(canary), stream: true, stop: [canary], n: 2 }],
  (canary) => [CHAT, { ...said(canary), tools: [tool(canary)] }],
  (prompt) => ['/v1/completions', { prompt, max_tokens: 4, logprobs: 2 }],
  (canary) => [CHAT, { ...said(canary), model: canary }],
  (canary) => [CHAT, { ...said(canary), temperature: canary, [canary]: canary }],
  (canary) => [CHAT, said(`${canary} `.repeat(600))],
  (canary) => ['/chat', { prompt: canary, max_tokens: 4, grammar: canary, system_prompt: 7 }],
  (canary) => [CHAT, { ...said(canary), grammar: `root ::= ${canary}` }],
  (canary) => [`/v1/${canary}?key=${canary}`, {}],
];

function said(content: string) {
  return { messages: [{ role: 'user', content }], max_tokens: 4 };
}

function tool(name: string) {
  return { type: 'function', function: { name, description: name, parameters: { type: 'object' } } };
}

let live: LiveServer;

beforeAll(async () => {
  const env = (folder: string) => {
    const keys = KEYS.map((key, i) => ({ name: `key-${i}`, sha256: sha256(key), tenants: ['shared'] }));
    writeFileSync(join(folder, 'keys.json'), JSON.stringify({ keys }), { mode: 0o600 });
    return {
      ...{ API_KEYS_FILE: join(folder, 'keys.json'), LLM_WORKERS: '2', LLM_SLOTS: '2', LLM_CTX_SIZE: '2048' },
      ...{ CACHE_RAM_MB: '64', REPLY_RESUME: 'off', LLM_EXTRA_ARGS: ENDLESS },
    };
  };
  live = await new LiveServer(env, { apiKey: '' }).start();
  await live.untilReady(({ workers }) => workers.idle === 2);
});

afterAll(() => live.stop());

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

const headers = (number: number) => ({
  Authorization: `Bearer ${KEYS[number % KEYS.length]}`,
  ...{ 'X-Conversation-Id': 'shared', 'X-Session-Id': 'shared', 'X-Request-Id': 'shared', 'X-Slot-Id': '0' },
});

/** Canaries in what came back, headers included. */
const canariesIn = (value: unknown): string[] => [...new Set(JSON.stringify(value).match(CANARY))];

const visible = ({ text, headers: head, trailers }: Reply) => ({ text, head, trailers });

test('a canary appears in no other reply, error or header, nor in a log line or a process', async () => {
  const outcomes: { number: number; own: string; found: string[]; status: number }[] = [];
  let next = 0;
  const lane = async () => {
    while (next < REQUESTS) {
      const number = next++;
      const own = newCanary();
      const [path, body] = ASKS[number % ASKS.length]!(own);
      const ask = { headers: headers(number), body: { ...REACHING, ...body } };
      const reply = await exchange(live.url + path, ask);
      outcomes.push({ number, own, found: canariesIn(visible(reply)), status: reply.status });
      for (const key of KEYS) expect(JSON.stringify(visible(reply))).not.toContain(key);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));

  expect(outcomes).toHaveLength(REQUESTS);
  expect(outcomes.filter(({ own, found }) => found.some((canary) => canary !== own))).toEqual([]);
  const served = outcomes.filter(({ status }) => status === 200).length;
  expect(served).toBeGreaterThan(REQUESTS / 2);
  expect(outcomes.filter(({ status }) => status >= 500 && status !== 502 && status !== 503)).toEqual([]);
  expect(live.logged('request').filter(({ route }) => route !== '/ready').length).toBe(REQUESTS);
  expect(secretsIn(live.lines)).toEqual([]);
  expect(live.workerPids()).toHaveLength(2);
  for (const pid of live.workerPids()) {
    const process = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
    expect(secretsIn(process)).toEqual([]);
  }
  expect(live.logged('worker_exit')).toEqual([]);
}, 120_000);

test('the error and the log of a worker that dies contain no canary', async () => {
  const body = { prompt: newCanary(), max_tokens: 1_500 };
  const running = [0, 1].map((number) => exchange(`${live.url}/llm`, { headers: headers(number), body }));
  for (const reply of await killWorkersUntil(live, Promise.all(running))) {
    // 503 when so many deaths in a row were taken for a crash loop.
    expect([500, 503]).toContain(reply.status);
    if (reply.status === 500) expect(json(reply).error.stderr).toEqual(expect.any(String));
    expect(secretsIn([reply.text, reply.headers])).toEqual([]);
  }
  expect(live.logged('worker_exit').some(({ stderr }) => stderr.length > 0)).toBe(true);
  expect(secretsIn(live.lines)).toEqual([]);
});

/** Canaries and keys in anything. */
function secretsIn(value: unknown): string[] {
  const text = JSON.stringify(value);
  return [...(text.match(CANARY) ?? []), ...KEYS.filter((key) => text.includes(key))];
}
