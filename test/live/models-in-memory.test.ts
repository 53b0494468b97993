import { get, json, type Reply } from '../support/exchange.js';
import { demoModel, LiveServer, writeConfig } from '../support/live.js';
import { begun, CHAT, ENDLESS_CHAT, KEY, messages, post, send } from './requests.js';

/** More models than fit into memory, on real llama.cpp: each name is the demo model again. */

const NAMES = ['first', 'second', 'third'];

/** Each takes some 90 MiB with this context; before the first load some 120 are estimated. */
const CONTEXT = 32_768;
const ROOM_FOR_TWO = '240';

const server = (env: Record<string, string>, models: Record<string, object> = named(NAMES)) =>
  new LiveServer((folder) => ({ LMSERV_CONFIG: writeConfig(folder, { models }), ...env }));

const named = (names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, demoModel({ context: CONTEXT, pin: false })]));

let live: LiveServer;
afterEach(() => live.stop());

const brief = { messages, temperature: 0, max_tokens: 8 };
const ask = (model: string, body: object = brief): Promise<Reply> => post(live, CHAT, { ...body, model });
const textOf = (reply: Reply): string => json(reply).choices[0].message.content;

const states = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    json(await get(`${live.url}/v1/models`, KEY)).data.map(({ id, state }: any) => [id, state]),
  );

const loads = () => live.logged('model_loaded').map(({ model }) => model);
const unloads = () => live.logged('model_unload').map(({ model, reason }) => `${model} ${reason}`);

test('the default model is loaded at the start, another by its first request, which waits for it', async () => {
  live = await server({}).start();
  expect(await states()).toMatchObject({ first: 'loaded', second: 'unloaded', third: 'unloaded' });
  expect(json(await get(`${live.url}/ready`, KEY))).toMatchObject({
    status: 'ok',
    models: { loaded: 1, loading: 0, unloaded: 2, failed: 0 },
    workers: { total: 1, idle: 1 },
  });
  const [warm, cold] = [await ask('first'), await ask('second')];
  expect([warm.status, cold.status]).toEqual([200, 200]);
  expect(textOf(cold)).toBe(textOf(warm));
  expect([warm.headers['x-model-state'], cold.headers['x-model-state']]).toEqual(['loaded', 'unloaded']);
  expect(cold.headers['x-queue-position']).toBe('1');
  expect(await states()).toMatchObject({ first: 'loaded', second: 'loaded', third: 'unloaded' });
  expect(loads()).toEqual(['first', 'second']);
});

test('the model that was used least recently makes room, a busy one never', async () => {
  live = await server({ LLM_MEMORY_MB: ROOM_FOR_TWO }).start();
  await ask('second');
  await ask('first');
  expect((await ask('third')).status).toBe(200);
  expect(unloads()).toEqual(['second evicted']);
  const running = await begun(live, CHAT, { ...ENDLESS_CHAT, model: 'first', max_tokens: 1_500 });
  expect((await ask('second')).status).toBe(200);
  expect(unloads()).toEqual(['second evicted', 'third evicted']);
  expect((await running.reply).text).toMatch(/data: \[DONE\]\n\n$/);
  expect(live.workerPids()).toHaveLength(2);
});

test('a client that asks for it is told how its wait goes on, in comments', async () => {
  live = await server({}).start();
  const body = { ...brief, stream: true, model: 'second' };
  const told = await send(live, CHAT, body, { ...KEY, 'X-Queue-Events': 'on' }).reply;
  expect(told.text).toMatch(/^: queued 1\n\n(: loading( \d+ %)?\n\n)+data: /);
  expect(told.headers['x-queue-position']).toBe('1');
  const { text } = await post(live, CHAT, { ...body, model: 'third' });
  expect(text).toMatch(/^data: /);
});

test('a model that does not fit is refused with the numbers, and the others go on', async () => {
  const models = { ...named(['first']), large: demoModel({ slots: 8, context: CONTEXT, pin: false }) };
  live = await server({ LLM_MEMORY_MB: ROOM_FOR_TWO }, models).start();
  const refused = await ask('large');
  expect(refused.status).toBe(503);
  expect(json(refused).error).toMatchObject({
    code: 'insufficient_memory',
    message: expect.stringMatching(/^The model large needs \d+ MiB of 240 MiB/),
  });
  expect(refused.headers['retry-after']).toBeUndefined();
  expect((await ask('first')).status).toBe(200);
  expect(await states()).toMatchObject({ first: 'loaded', large: 'failed' });
});

test('an idle model is unloaded, the default one is not, and the next request loads it again', async () => {
  live = await server({ MODEL_IDLE_SECS: '0.3' }).start();
  await ask('second');
  await live.until('model_unloaded', ({ model }) => model === 'second');
  expect((await get(`${live.url}/health`, {})).status).toBe(200);
  expect((await ask('second')).headers['x-model-state']).toBe('unloaded');
  expect(new Set(unloads())).toEqual(new Set(['second idle']));
  expect(live.workerPids().length).toBeGreaterThan(0);
});

test('pinned and preloaded models are loaded at the start, and a pinned one stays', async () => {
  const models = { ...named(NAMES), second: demoModel(), third: demoModel({ pin: false, preload: true }) };
  live = await server({ MODEL_IDLE_SECS: '0.3' }, models).start();
  await live.until('model_unloaded', ({ model }) => model === 'third');
  expect(await states()).toMatchObject({ first: 'loaded', second: 'loaded', third: 'unloaded' });
  expect(new Set(loads())).toEqual(new Set(NAMES));
});

test('what llama.cpp reports takes the place of the estimate, and the metrics show it', async () => {
  live = await server({ LLM_MEMORY_MB: ROOM_FOR_TWO }).start();
  await ask('second');
  await ask('third');
  const { text } = await get(`${live.url}/metrics`, KEY);
  expect(text).toMatch(/^lmserv_model_state\{model="third",state="loaded"\} 1$/m);
  expect(text).toMatch(/^lmserv_model_load_duration_seconds_count\{model="second"\} 1$/m);
  expect(text).toMatch(/^lmserv_model_unloads_total\{model="first",reason="evicted"\} 1$/m);
  expect(text).toMatch(/^lmserv_memory_budget_bytes 251658240$/m);
  expect(live.server.memory.models().map(({ id, estimated }) => [id, estimated])).toEqual(
    NAMES.map((name) => [name, false]),
  );
});
