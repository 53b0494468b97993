import { parseExposition, type Metrics } from '../support/exposition.js';
import { get, json, sseData, type Exchange, type Reply } from '../support/exchange.js';
import { ENDLESS, LIVE_KEY, LiveServer } from '../support/live.js';
import { CHAT, killWorkers, messages, send } from './requests.js';

/** GET /metrics reports what its clients saw, on real llama.cpp. */

const model = 'lmserv-demo';
const route = CHAT;

let live: LiveServer;

beforeAll(async () => {
  live = new LiveServer({ LLM_EXTRA_ARGS: ENDLESS });
  await live.server.start();
});

afterAll(() => live.stop());

const ask = (body: object): Exchange => send(live, route, { temperature: 0, messages, ...body });

async function scrape(): Promise<Metrics> {
  const { status, text } = await get(`${live.url}/metrics`, { Authorization: `Bearer ${LIVE_KEY}` });
  expect(status).toBe(200);
  return parseExposition(text);
}

/** What has been added to a counter from one scrape to the next. */
const added = (before: Metrics, after: Metrics, name: string, labels: Record<string, string> = { model }) =>
  (after.value(name, labels) ?? 0) - (before.value(name, labels) ?? 0);

const requests = (): number => live.logged('request').filter((line) => line.route === route).length;

/** Resolves when there have been that many requests to the route in all. */
const ended = (count: number) => live.until('request', () => requests() >= count);

const deltas = ({ text }: Reply): number =>
  sseData(text).filter((chunk) => chunk.choices?.[0]?.delta.content).length;

test('the metrics are available while the model loads and then report that it is ready', async () => {
  expect((await scrape()).value('lmserv_build_info')).toBe(1);
  await live.server.ready;
  const metrics = await scrape();
  expect(metrics.value('lmserv_model_ready', { model })).toBe(1);
  expect(metrics.value('lmserv_slots', { model })).toBe(1);
  expect(metrics.value('lmserv_slots_idle', { model })).toBe(1);
  expect(metrics.value('lmserv_queue_limit', { model })).toBe(64);
  expect(metrics.family('lmserv_llama_cpp_info').samples).toHaveLength(1);
  expect(metrics.value('lmserv_workers', { model, state: 'idle' })).toBe(1);
});

test('the counts of tokens, first tokens, gaps and cached tokens are those that the clients saw', async () => {
  const earlier = requests();
  const before = await scrape();
  const plain = [json(await ask({ max_tokens: 20 }).reply), json(await ask({ max_tokens: 30 }).reply)];
  const streamed = await ask({ max_tokens: 40, stream: true, stream_options: { include_usage: true } }).reply;
  await ended(earlier + 3);
  const after = await scrape();
  const last = sseData(streamed.text).at(-2);
  const usages = [...plain, last].map(({ usage }) => usage);
  const sum = (pick: (usage: any) => number) => usages.reduce((total, usage) => total + pick(usage), 0);
  const cachedOf = (usage: any): number => usage.prompt_tokens_details.cached_tokens;
  const cached = sum(cachedOf);
  const grown = (name: string) => added(before, after, name);

  expect(sum((usage) => usage.completion_tokens)).toBe(90);
  expect(grown('lmserv_completion_tokens_total')).toBe(90);
  expect(grown('lmserv_prompt_tokens_total')).toBe(sum((usage) => usage.prompt_tokens));
  expect(grown('lmserv_time_to_first_token_seconds_count')).toBe(3);
  expect(cached).toBeGreaterThan(0);
  expect(grown('lmserv_prefix_cache_hit_tokens_total')).toBe(cached);
  expect(grown('lmserv_prefix_cache_lookups_total')).toBe(3);
  // All three ask the same: what the first one leaves behind, the others find.
  expect(usages.slice(1).every((usage) => cachedOf(usage) > 0)).toBe(true);
  expect(grown('lmserv_prefix_cache_hits_total')).toBe(usages.filter((usage) => cachedOf(usage) > 0).length);
  expect(
    added(before, after, 'lmserv_http_requests_total', { route, outcome: 'finished', status: '200' }),
  ).toBe(3);
});

test('each gap of a streamed reply is counted', async () => {
  const earlier = requests();
  const before = await scrape();
  const reply = await ask({ max_tokens: 200, stream: true }).reply;
  await ended(earlier + 1);
  const after = await scrape();
  expect(deltas(reply)).toBeGreaterThan(100);
  expect(added(before, after, 'lmserv_inter_token_latency_seconds_count')).toBe(deltas(reply) - 1);
  expect(added(before, after, 'lmserv_inter_token_latency_seconds_sum')).toBeGreaterThan(0);
});

test('a scrape succeeds while all slots are in use, and a client that leaves is counted as cancelled', async () => {
  const earlier = requests();
  const before = await scrape();
  const running = ask({ max_tokens: 3_500, stream: true });
  await running.firstChunk();
  const waiting = ask({ max_tokens: 1 });
  await live.untilReady(({ queue }) => queue.waiting === 1);
  const meanwhile = await scrape();
  expect(meanwhile.value('lmserv_slots_idle', { model })).toBe(0);
  expect(meanwhile.value('lmserv_workers', { model, state: 'busy' })).toBe(1);
  // Without /proc there is no series.
  const memory = meanwhile.value('lmserv_worker_memory_bytes', { model, worker: '0', kind: 'anonymous' });
  if (process.platform === 'linux') expect(memory).toBeGreaterThan(1_000_000);
  else expect(memory).toBeUndefined();
  expect(meanwhile.value('lmserv_queue_waiting', { model })).toBe(1);
  running.abort();
  expect((await waiting.reply).status).toBe(200);
  await ended(earlier + 2);
  const after = await scrape();
  const labels = { model, outcome: 'cancelled' };
  expect(added(before, after, 'lmserv_generations_total', labels)).toBe(1);
  expect(after.value('lmserv_queue_waiting', { model })).toBe(0);
  expect(after.value('lmserv_worker_requests_total', { model, worker: '0' })).toBeGreaterThan(0);
  // Tokens of a reply that was given up are work all the same, the cache's part of it is unknown.
  expect(added(before, after, 'lmserv_completion_tokens_total')).toBeGreaterThan(1);
  expect(added(before, after, 'lmserv_prefix_cache_lookups_total')).toBe(1);
});

test('a killed worker and the reply that resumes without it are counted', async () => {
  const before = await scrape();
  const running = ask({ max_tokens: 800, stream: true });
  await running.firstChunk();
  const ready = live.next('worker_ready');
  killWorkers(live);
  await ready;
  expect((await running.reply).text).toMatch(/data: \[DONE\]\n\n$/);
  const after = await scrape();
  expect(added(before, after, 'lmserv_worker_exits_total', { model, cause: 'killed' })).toBe(1);
  expect(added(before, after, 'lmserv_worker_start_duration_seconds_count')).toBe(1);
  expect(added(before, after, 'lmserv_replies_resumed_total')).toBe(1);
  expect(added(before, after, 'lmserv_queue_wait_seconds_count', { model, outcome: 'leased' })).toBe(2);
});
