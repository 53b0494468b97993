import { gguf } from '../unit/doctor/gguf-bytes.js';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { dirname, join } from 'node:path';
import { ROOT } from '../../src/config/root.js';
import { begin, get, json } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { DEMO_MODEL, ENDLESS, LIVE_KEY, LiveServer, llamaServer } from '../support/live.js';
import { isAlive } from '../support/pool.js';
import { begun, CHAT, DISH, KEY, killWorkers, post, user } from './requests.js';

/** LMServ as a whole on real llama.cpp: its own routes, its workers' lives, its end. */

const dish = { prompt: DISH, temperature: 0 };
const folder = newFolder();

/** With the default settings. */
let live: LiveServer;
/** With settings of the test's own. */
let own: LiveServer | undefined;

beforeAll(async () => {
  live = await new LiveServer().start();
});

afterAll(() => live.stop());

async function serve(env: Record<string, string>): Promise<LiveServer> {
  own = new LiveServer(env);
  return own.start();
}

afterEach(async () => {
  await own?.stop();
  own = undefined;
});

const chat = (server: LiveServer, body: object = dish) => post(server, '/chat', body);

/** POST /chat; kills the workers once that many characters have come. Returns the whole text. */
async function killAfter(server: LiveServer, body: object, characters: number): Promise<string> {
  const reply = await begin(`${server.url}/chat`, { headers: KEY, body });
  let text = '';
  let killed = false;
  for await (const chunk of reply) {
    text += chunk;
    if (!killed && text.length >= characters) killWorkers(server);
    killed ||= text.length >= characters;
  }
  return text;
}

test('/chat streams the reply as plain text in many chunks, with the finish reason as a trailer', async () => {
  const reply = await chat(live);
  expect(reply.text).toMatch(/ceviche/i);
  expect(reply.chunks.length).toBeGreaterThan(3);
  expect(reply.trailers['x-finish-reason']).toBe('stop');
  const cut = await chat(live, { ...dish, max_tokens: 2 });
  expect(cut.trailers['x-finish-reason']).toBe('length');
});

test('an emoji split over tokens arrives whole', async () => {
  const { text } = await chat(live, { prompt: 'Send me a smile', temperature: 0 });
  expect(text).toContain('😀');
  expect(text).not.toContain('\ufffd');
});

test.each(['/read /etc/passwd', '/exit', 'a\n> b\n/clear', '\\'])(
  '%j is text like any other',
  async (prompt) => {
    const pids = live.workerPids();
    expect((await chat(live, { prompt, max_tokens: 20 })).status).toBe(200);
    expect(live.workerPids()).toEqual(pids);
    expect((await chat(live)).text).toMatch(/ceviche/i);
  },
);

test('the demo model answers the questions it was trained for correctly at temperature 0', async () => {
  type Question = { question?: string; messages?: object[]; expect?: string };
  const file = readFileSync(join(ROOT, 'models/demo-questions.json'), 'utf8');
  const questions = (JSON.parse(file) as Question[]).filter((entry) => entry.expect !== undefined);
  expect(questions.length).toBeGreaterThan(30);
  for (const { question, messages, expect: expected } of questions) {
    const asked = messages ?? [{ role: 'user', content: question }];
    const { choices } = json(await post(live, CHAT, { messages: asked, temperature: 0 }));
    expect(choices[0].message.content).toContain(expected);
  }
});

test('four requests on one worker with one slot are served in order', async () => {
  const done: number[] = [];
  const one = async (i: number) => {
    await chat(live, { ...dish, max_tokens: 5 + i });
    done.push(i);
  };
  await Promise.all([0, 1, 2, 3].map(one));
  expect(done).toEqual([0, 1, 2, 3]);
});

test('four requests run together with LLM_SLOTS=4', async () => {
  const server = await serve({ LLM_SLOTS: '4' });
  const story = { prompt: 'Tell me a story about a lighthouse', temperature: 0 };
  const replies = await Promise.all([0, 1, 2, 3].map(() => begun(server, '/chat', story)));
  // All four have begun, none has been read to its end.
  expect(json(await get(`${server.url}/ready`)).queue.waiting).toBe(0);
  const texts = await Promise.all(replies.map(({ reply }) => reply.then(({ text }) => text)));
  const served = server.logged('request').filter(({ route }) => route === '/chat');
  expect(served.map(({ queuePosition }) => queuePosition)).toEqual(Array(4).fill(undefined));
  for (const text of texts) expect(text).toContain('lighthouse');
});

test('after a killed worker the next request is served, and no other worker restarts', async () => {
  const server = await serve({ LLM_WORKERS: '2' });
  await server.untilReady(({ workers }) => workers.idle === 2);
  const [victim, other] = server.workerPids();
  process.kill(victim!, 'SIGKILL');
  expect(await server.next('worker_exit')).toMatchObject({ pid: victim, signal: 'SIGKILL' });
  expect((await chat(server)).text).toMatch(/ceviche/i);
  await server.untilReady(({ workers }) => workers.idle === 2);
  expect(server.workerPids()).toContain(other);
  expect(server.logged('worker_spawn')).toHaveLength(3);
});

test('after the only worker was killed the next request waits for its successor', async () => {
  const exit = live.next('worker_exit');
  killWorkers(live);
  await exit;
  expect((await chat(live)).text).toMatch(/ceviche/i);
});

test.each([1, 20, 60, 150, 300])(
  'workers killed after %i characters: the client sees no break, the text is the same',
  async (cut) => {
    const server = await serve({ LLM_WORKERS: '2' });
    const story = { prompt: 'Tell me a story about a lighthouse', temperature: 0, repeat_penalty: 1 };
    const undisturbed = (await chat(server, story)).text;
    let line;
    do {
      expect(await killAfter(server, story, cut)).toBe(undisturbed);
      [line] = server.logged('request').slice(-1);
      expect(line).toMatchObject({ outcome: 'finished', finishReason: 'stop' });
      // A worker that had already sent everything when it was killed shows nothing: once more.
    } while (line.attempts === undefined);
    expect(line.promptTokens).toBe(server.logged('request')[0].promptTokens);
  },
);

test('with REPLY_RESUME=off a reply whose worker dies is cut', async () => {
  const server = await serve({ REPLY_RESUME: 'off', LLM_EXTRA_ARGS: ENDLESS });
  const running = await begun(server, '/chat', { ...dish, max_tokens: 3_000 });
  killWorkers(server);
  expect((await running.reply).cut).toBe(true);
});

test('a stopped worker (SIGSTOP) is detected by its lack of progress and replaced', async () => {
  const server = await serve({ FIRST_TOKEN_TIMEOUT_SECS: '1', TOKEN_TIMEOUT_SECS: '1' });
  const [victim] = server.workerPids();
  process.kill(victim!, 'SIGSTOP');
  expect((await chat(server)).text).toMatch(/ceviche/i);
  expect(server.logged('worker_exit')).toMatchObject([
    { pid: victim, reason: expect.stringMatching(/^hung/) },
  ]);
});

test('a client that leaves frees its slot', async () => {
  const server = await serve({ LLM_EXTRA_ARGS: ENDLESS });
  const running = await begun(server, '/chat', { ...dish, max_tokens: 3_000 });
  const done = server.next('request');
  running.abort();
  expect(await done).toMatchObject({ outcome: 'cancelled', route: '/chat' });
  await server.untilIdle();
});

test('/llm continues a raw prompt', async () => {
  const server = await serve({ LLM_EXTRA_ARGS: ENDLESS });
  const body = { prompt: 'Once upon a time', temperature: 0, max_tokens: 16 };
  expect(json(await post(server, '/llm', body)).completion.length).toBeGreaterThan(10);
});

test('an image for a model without image support is 400, not a failure of the server', async () => {
  const content = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }];
  expect((await post(live, CHAT, user(content))).status).toBe(400);
});

test('a truncated model is refused at the start', async () => {
  const whole = readFileSync(DEMO_MODEL);
  const cut = join(folder, 'cut.gguf');
  writeFileSync(cut, whole.subarray(0, whole.length / 2));
  own = new LiveServer({ LLM_MODEL_PATH: cut });
  await expect(own.server.start()).rejects.toThrow(`${cut} is cut`);
});

test('a model that llama.cpp cannot load is reported as such', async () => {
  const path = join(folder, 'empty.gguf');
  writeFileSync(path, gguf([]));
  own = new LiveServer({ LLM_MODEL_PATH: path });
  await own.server.start();
  await own.until('worker_exit');
  const reply = await chat(own);
  expect(reply.status).toBe(503);
  const { message } = json(reply).error;
  expect(message).toMatch(/^No worker can be started: exit code 1: .*model/);
  expect(message).not.toContain(folder);
});

test('a llama-server works too, on a UNIX socket with a key', async () => {
  const server = await serve({ LLM_BIN_PATH: await llamaServer() });
  expect(server.logged('model')[0]).toMatchObject({ binary: 'llama-server' });
  expect((await chat(server)).text).toMatch(/ceviche/i);
  const [pid] = server.workerPids();
  const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const socketPath = commandLine[commandLine.indexOf('--host') + 1]!;
  expect(socketPath).toMatch(/\.sock$/);
  expect(statSync(dirname(socketPath)).mode & 0o777).toBe(0o700);
  const stranger = request({ socketPath, path: '/props' }).end();
  const [refused] = (await once(stranger, 'response')) as [IncomingMessage];
  expect(refused.resume().statusCode).toBe(401);
  expect(commandLine).not.toContain('--api-key');
});

test('workers see neither keys nor stray settings in their environment', async () => {
  process.env.HF_TOKEN = 'canary-token';
  process.env.LLAMA_ARG_CTX_SIZE = '77';
  try {
    const server = await serve({});
    const environment = readFileSync(`/proc/${server.workerPids()[0]}/environ`, 'utf8');
    expect(environment).toContain('PATH=');
    for (const word of ['canary-token', 'LLAMA_ARG', LIVE_KEY]) expect(environment).not.toContain(word);
  } finally {
    delete process.env.HF_TOKEN;
    delete process.env.LLAMA_ARG_CTX_SIZE;
  }
});

test('stopping the server ends every worker', async () => {
  const server = await serve({ LLM_WORKERS: '2' });
  const pids = server.workerPids();
  await server.server.stop();
  expect(pids.map(isAlive)).toEqual([false, false]);
});
