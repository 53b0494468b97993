import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { ROOT } from '../../src/config/root.js';
import { isAlive } from '../support/pool.js';
import { DEMO_MODEL, ENDLESS, LIVE_KEY, LiveServer, llamaServer } from '../support/live.js';

/** LMServ as a whole on real llama.cpp: its own routes, its workers' lives, its end. */

let live: LiveServer | undefined;

async function serve(env: Record<string, string> = {}): Promise<LiveServer> {
  live = new LiveServer(env);
  return live.start();
}

afterEach(async () => {
  await live?.stop();
  live = undefined;
});

const dish = { prompt: 'Name a famous Peruvian dish', temperature: 0 };

/** POST /chat over a plain connection: the chunks as they came, and the trailers. */
async function chat(
  server: LiveServer,
  body: object,
): Promise<{ chunks: string[]; response: IncomingMessage }> {
  const outgoing = httpRequest(`${server.url}/chat`, {
    method: 'POST',
    headers: { 'X-API-Key': LIVE_KEY, 'Content-Type': 'application/json' },
  });
  outgoing.end(JSON.stringify(body));
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const chunks: string[] = [];
  const decoder = new TextDecoder();
  // One event per HTTP chunk; an iterator or a stream with an encoding would join those that arrive together.
  response.on('data', (bytes: Buffer) => chunks.push(decoder.decode(bytes, { stream: true })));
  await once(response, 'end');
  return { chunks, response };
}

/** POST /chat; calls `act` once when that many characters have come. Returns the whole text. */
async function chatUntil(
  server: LiveServer,
  body: object,
  characters: number,
  act: () => void,
): Promise<string> {
  const reply = await server.post('/chat', body);
  const decoder = new TextDecoder();
  let text = '';
  let acted = false;
  for await (const chunk of reply.body!) {
    text += decoder.decode(chunk, { stream: true });
    if (!acted && text.length >= characters) act();
    acted ||= text.length >= characters;
  }
  return text;
}

test('/chat streams the reply as plain text in many chunks, with the finish reason as a trailer', async () => {
  const server = await serve();
  const { chunks, response } = await chat(server, dish);
  expect(chunks.join('')).toMatch(/ceviche/i);
  expect(chunks.length).toBeGreaterThan(3);
  expect(response.trailers['x-finish-reason']).toBe('stop');
  const cut = await chat(server, { ...dish, max_tokens: 2 });
  expect(cut.response.trailers['x-finish-reason']).toBe('length');
});

test('an emoji split over tokens arrives whole', async () => {
  const server = await serve();
  const { chunks } = await chat(server, { prompt: 'Send me a smile', temperature: 0 });
  expect(chunks.join('')).toContain('😀');
  expect(chunks.join('')).not.toContain('\ufffd');
});

test.each(['/read /etc/passwd', '/exit', 'a\n> b\n/clear', '\\'])(
  '%j is text like any other',
  async (prompt) => {
    const server = await serve();
    const pids = server.server.workerPids();
    const { response } = await chat(server, { prompt, max_tokens: 20 });
    expect(response.statusCode).toBe(200);
    expect(server.server.workerPids()).toEqual(pids);
    expect((await chat(server, dish)).chunks.join('')).toMatch(/ceviche/i);
  },
);

test('the demo model answers the questions it was trained for correctly at temperature 0', async () => {
  const server = await serve();
  type Question = { question?: string; messages?: object[]; expect?: string };
  const file = readFileSync(join(ROOT, 'models/demo-questions.json'), 'utf8');
  const questions = (JSON.parse(file) as Question[]).filter((entry) => entry.expect !== undefined);
  expect(questions.length).toBeGreaterThan(30);
  for (const { question, messages, expect: expected } of questions) {
    const asked = messages ?? [{ role: 'user', content: question }];
    const response = await server.post('/v1/chat/completions', { messages: asked, temperature: 0 });
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
    expect(choices[0]!.message.content).toContain(expected);
  }
});

test('four requests on one worker with one slot are served in order', async () => {
  const server = await serve();
  const done: number[] = [];
  await Promise.all(
    [0, 1, 2, 3].map(async (i) => {
      await (await server.post('/chat', { ...dish, max_tokens: 5 + i })).text();
      done.push(i);
    }),
  );
  expect(done).toEqual([0, 1, 2, 3]);
});

test('four requests run together with LLM_SLOTS=4', async () => {
  const server = await serve({ LLM_SLOTS: '4' });
  const story = { prompt: 'Tell me a story about a lighthouse', temperature: 0 };
  const replies = await Promise.all([0, 1, 2, 3].map(() => server.post('/chat', story)));
  // All four have begun, none has been read to its end.
  const ready = (await (await fetch(`${server.url}/ready`)).json()) as { queue: { waiting: number } };
  expect(ready.queue.waiting).toBe(0);
  const texts = await Promise.all(replies.map((reply) => reply.text()));
  expect(
    server
      .logged('request')
      .filter((line) => line.route === '/chat')
      .map((line) => line.queueMs < 1_000),
  ).toEqual([true, true, true, true]);
  for (const text of texts) expect(text).toContain('lighthouse');
});

test('after a killed worker the next request is served, and no other worker restarts', async () => {
  const server = await serve({ LLM_WORKERS: '2' });
  while (server.logged('worker_ready').length < 2) await server.next('worker_ready');
  const [victim, other] = server.server.workerPids();
  process.kill(victim!, 'SIGKILL');
  expect(await server.next('worker_exit')).toMatchObject({ pid: victim, signal: 'SIGKILL' });
  expect((await chat(server, dish)).chunks.join('')).toMatch(/ceviche/i);
  while (server.logged('worker_ready').length < 3) await server.next('worker_ready');
  expect(server.server.workerPids()).toContain(other);
  expect(server.logged('worker_spawn')).toHaveLength(3);
});

test('after the only worker was killed the next request waits for its successor', async () => {
  const server = await serve();
  const [victim] = server.server.workerPids();
  process.kill(victim!, 'SIGKILL');
  await server.next('worker_exit');
  expect((await chat(server, dish)).chunks.join('')).toMatch(/ceviche/i);
});

test.each([1, 20, 60, 150, 300])(
  'workers killed after %i characters: the client sees no break, the text is the same',
  async (cut) => {
    const server = await serve({ LLM_WORKERS: '2' });
    const story = { prompt: 'Tell me a story about a lighthouse', temperature: 0, repeat_penalty: 1 };
    const undisturbed = (await chat(server, story)).chunks.join('');
    let line;
    do {
      const killAll = () => server.server.workerPids().forEach((pid) => process.kill(pid, 'SIGKILL'));
      expect(await chatUntil(server, story, cut, killAll)).toBe(undisturbed);
      [line] = server.logged('request').slice(-1);
      expect(line).toMatchObject({ outcome: 'finished', finishReason: 'stop' });
      // A worker that had already sent everything when it was killed shows nothing: once more.
    } while (line.attempts === undefined);
    expect(line.promptTokens).toBe(server.logged('request')[0].promptTokens);
  },
);

test('with REPLY_RESUME=off a reply whose worker dies is cut', async () => {
  const server = await serve({ REPLY_RESUME: 'off', LLM_EXTRA_ARGS: ENDLESS });
  const reply = await server.post('/chat', { ...dish, max_tokens: 3_000 });
  const reader = reply.body!.getReader();
  await reader.read();
  for (const pid of server.server.workerPids()) process.kill(pid, 'SIGKILL');
  const rest = async () => {
    while (!(await reader.read()).done);
  };
  await expect(rest()).rejects.toThrow();
});

test('a stopped worker (SIGSTOP) is detected by its lack of progress and replaced', async () => {
  const server = await serve({ FIRST_TOKEN_TIMEOUT_SECS: '1', TOKEN_TIMEOUT_SECS: '1' });
  const [victim] = server.server.workerPids();
  process.kill(victim!, 'SIGSTOP');
  expect((await chat(server, dish)).chunks.join('')).toMatch(/ceviche/i);
  expect(server.logged('worker_exit')).toMatchObject([
    { pid: victim, reason: expect.stringMatching(/^hung/) },
  ]);
});

test('a client that leaves frees its slot', async () => {
  const server = await serve({ LLM_EXTRA_ARGS: ENDLESS });
  const gone = new AbortController();
  const story = { ...dish, max_tokens: 3_000 };
  const reply = await server.post('/chat', story, { signal: gone.signal });
  const reader = reply.body!.getReader();
  await reader.read();
  gone.abort();
  expect(await server.next('request')).toMatchObject({ outcome: 'cancelled', route: '/chat' });
  await server.untilIdle();
});

test('/llm continues a raw prompt', async () => {
  const server = await serve({ LLM_EXTRA_ARGS: ENDLESS });
  const reply = await server.post('/llm', { prompt: 'Once upon a time', temperature: 0, max_tokens: 16 });
  const body = (await reply.json()) as { completion: string };
  expect(body.completion.length).toBeGreaterThan(10);
});

test('an image for a model without image support is 400, not a failure of the server', async () => {
  const server = await serve();
  const content = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }];
  const reply = await server.post('/v1/chat/completions', { messages: [{ role: 'user', content }] });
  expect(reply.status).toBe(400);
});

test('a truncated model is reported as such', async () => {
  const whole = readFileSync(DEMO_MODEL);
  const folder = mkdtempSync(join(tmpdir(), 'lmserv-cut-'));
  const cut = join(folder, 'cut.gguf');
  writeFileSync(cut, whole.subarray(0, whole.length / 2));
  live = new LiveServer({ LLM_MODEL_PATH: cut });
  await live.server.start();
  await live.next('worker_exit');
  const reply = await live.post('/chat', dish);
  expect(reply.status).toBe(503);
  const { error } = (await reply.json()) as { error: { message: string } };
  expect(error.message).toMatch(/^No worker can be started: exit code 1: .*model/);
  expect(error.message).not.toContain(folder);
  rmSync(folder, { recursive: true });
});

test('a llama-server works too, on a UNIX socket with a key', async () => {
  const server = await serve({ LLM_BIN_PATH: await llamaServer() });
  expect(server.logged('model')[0]).toMatchObject({ binary: 'llama-server' });
  expect((await chat(server, dish)).chunks.join('')).toMatch(/ceviche/i);
  const [pid] = server.server.workerPids();
  const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const socketPath = commandLine[commandLine.indexOf('--host') + 1]!;
  expect(socketPath).toMatch(/\.sock$/);
  expect(statSync(dirname(socketPath)).mode & 0o777).toBe(0o700);
  const stranger = httpRequest({ socketPath, path: '/props' }).end();
  const [refused] = (await once(stranger, 'response')) as [IncomingMessage];
  expect(refused.resume().statusCode).toBe(401);
  expect(commandLine).not.toContain('--api-key');
});

test('workers see neither keys nor stray settings in their environment', async () => {
  process.env.HF_TOKEN = 'canary-token';
  process.env.LLAMA_ARG_CTX_SIZE = '77';
  try {
    const server = await serve();
    const environment = readFileSync(`/proc/${server.server.workerPids()[0]}/environ`, 'utf8');
    expect(environment).toContain('PATH=');
    for (const word of ['canary-token', 'LLAMA_ARG', LIVE_KEY]) expect(environment).not.toContain(word);
  } finally {
    delete process.env.HF_TOKEN;
    delete process.env.LLAMA_ARG_CTX_SIZE;
  }
});

test('stopping the server ends every worker', async () => {
  const server = await serve({ LLM_WORKERS: '2' });
  const pids = server.server.workerPids();
  await server.server.stop();
  expect(pids.map(isAlive)).toEqual([false, false]);
});
