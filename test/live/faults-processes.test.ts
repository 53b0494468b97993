import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { get, refusal } from '../support/exchange.js';
import { CLI, compile, ENDLESS, LiveProcess, LiveServer } from '../support/live.js';
import { llamaServer, processSettings } from '../support/live.js';
import { emptyFolder } from '../support/folder.js';
import { gguf } from '../unit/doctor/gguf-bytes.js';
import { isAlive } from '../support/pool.js';
import { childrenOf } from '../harness/processes.js';
import { begun, post } from './requests.js';

/** The ends of LMServ's process and of its workers' processes, on real llama.cpp. */

const folder = emptyFolder();
let server: LiveProcess | undefined;

afterEach(async () => {
  await server?.kill();
  server = undefined;
});

async function start(env: Record<string, string> = {}): Promise<LiveProcess> {
  server = await LiveProcess.start(folder, { LLM_EXTRA_ARGS: ENDLESS, ...env });
  return server;
}

const story = (max_tokens: number) => ({ prompt: 'Tell me a story', max_tokens });

/** A reply that is still going on. */
const openReply = (tokens = 1_500) => begun(server!, '/chat', story(tokens));

const gone = async (pids: number[]) => {
  while (pids.some(isAlive)) await new Promise(setImmediate);
};

/** Process ids of a server's children that live as long as it does. */
const workersAndGuards = (pid: number): number[] =>
  childrenOf(pid)
    .map((child) => child.pid)
    .filter((child) => !listsDevices(child));

/** A process that tells which GPUs there are ends by itself, and may have done so. */
function listsDevices(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--list-devices');
  } catch {
    return true;
  }
}

describe('when LMServ itself is killed', () => {
  const WITHOUT_SETPRIV = { PATH: '/nonexistent' };

  test.each([
    ['llama-cli', 'setpriv and a guard each', {}],
    ['llama-cli', 'a guard each, where there is no setpriv', WITHOUT_SETPRIV],
    ['llama-server', 'setpriv and a guard each', {}],
    ['llama-server', 'a guard each, where there is no setpriv', WITHOUT_SETPRIV],
  ])('its %s workers end with it, generating or idle, by %s', async (kind, _means, env) => {
    const binary = kind === 'llama-server' ? { LLM_BIN_PATH: await llamaServer() } : {};
    const { pid } = await start({ LLM_WORKERS: '2', ...binary, ...env });
    await server!.untilReady(({ workers }) => workers.idle === 2);
    const children = workersAndGuards(pid);
    expect(children).toHaveLength(4);
    const workers = server!.workerPids();
    expect(workers).toHaveLength(2);
    // What they print meanwhile goes nowhere.
    for (const worker of workers) expect(readlinkSync(`/proc/${worker}/fd/1`)).toBe('/dev/null');
    const reply = await openReply();
    await server!.kill();
    await gone(children);
    expect((await reply.reply).cut).toBe(true);
  });

  test('a guard ends with its worker', async () => {
    const { pid } = await start(WITHOUT_SETPRIV);
    const before = workersAndGuards(pid);
    const [worker] = server!.workerPids();
    const next = server!.next('worker_ready');
    process.kill(worker!, 'SIGKILL');
    await next;
    await gone(before);
    expect(workersAndGuards(pid)).toHaveLength(2);
    expect(await server!.stop()).toBe(0);
  });
});

describe('SIGTERM', () => {
  test('refuses new requests, finishes open replies, then ends the workers with exit code 0', async () => {
    await start({ LLM_SLOTS: '2', SHUTDOWN_GRACE_SECS: '600' });
    const workers = server!.workerPids();
    const reply = await openReply();
    const began = server!.lines.length;
    server!.signal('SIGTERM');
    await server!.until('stopping');
    const health = await get(`${server!.url}/health`);
    expect([health.status, health.text]).toEqual([503, 'draining']);
    expect(refusal(await post(server!, '/chat', story(1)))).toMatchObject({ status: 503, code: 'draining' });
    expect(reply.received).not.toBe('');
    expect(await reply.reply).toMatchObject({ cut: false, trailers: { 'x-finish-reason': 'length' } });
    expect(await server!.exitCode).toBe(0);
    await server!.until('stopped');
    const order = server!.lines
      .slice(began)
      .map(({ event, route, outcome }) => (event === 'request' ? `${route} ${outcome}` : event));
    expect(order).toEqual(['stopping', '/chat refused', '/chat finished', 'worker_exit', 'stopped']);
    expect(workers.map(isAlive)).toEqual([false]);
  });

  test('breaks open replies after the grace period and still ends with exit code 0', async () => {
    await start({ SHUTDOWN_GRACE_SECS: '1', LLM_CTX_SIZE: '65536' });
    const reply = await openReply(60_000);
    expect(await server!.stop()).toBe(0);
    expect((await reply.reply).cut).toBe(true);
    expect(server!.workerPids()).toEqual([]);
  });

  test('sent twice kills the workers and ends at once with exit code 1', async () => {
    await start({ LLM_CTX_SIZE: '65536' });
    const reply = await openReply(60_000);
    server!.signal('SIGTERM');
    await server!.until('stopping');
    server!.signal('SIGTERM');
    expect(await server!.until('worker_exit')).toMatchObject({ signal: 'SIGKILL', reason: 'shutdown' });
    expect(await server!.exitCode).toBe(1);
    expect((await reply.reply).cut).toBe(true);
    expect(server!.workerPids()).toEqual([]);
  });
});

test.each([
  ['an uncaught error', 'throw new Error("provoked")'],
  ['an unhandled rejection', 'Promise.reject(new Error("provoked"))'],
])('%s is logged, the workers are stopped, exit 1', async (_name, statement) => {
  const program = `process.on('SIGUSR2', () => { ${statement} })`;
  await start({ NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(program)}` });
  const reply = await openReply();
  server!.signal('SIGUSR2');
  expect(await server!.until('crash')).toMatchObject({ level: 60, err: { message: 'provoked' } });
  expect(await server!.until('worker_exit')).toMatchObject({ signal: 'SIGKILL', reason: 'shutdown' });
  expect(await server!.exitCode).toBe(1);
  expect((await reply.reply).cut).toBe(true);
  expect(server!.workerPids()).toEqual([]);
});

describe('a start that cannot succeed', () => {
  test.each([
    ['no binary', undefined, /there is no file .*npm run setup/],
    ['one that is not executable', 0o644, /not executable: run `chmod \+x/],
    ['one that is too old', 0o755, /too old.*npm run setup/],
  ])('%s: exit 1 before listening, one line says what to run', async (_name, mode, says) => {
    await compile();
    const [cwd, path] = [join(folder, 'work'), join(folder, 'llama-cli')];
    mkdirSync(cwd);
    if (mode !== undefined) writeFileSync(path, '#!/bin/sh\necho "usage: llama-cli [options]"\n', { mode });
    const env = { ...processSettings(folder), LLM_BIN_PATH: path };
    const ended = await execa(process.execPath, [CLI, 'serve'], {
      cwd,
      env,
      extendEnv: false,
      reject: false,
    });
    expect(ended).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(says) });
    expect(ended.stderr.split('\n')).toHaveLength(1);
    expect(ended.stdout).not.toContain('"listening"');
  });

  test('a bad model: the exit of the worker ends the wait, 503 tells why, and the log has its stderr', async () => {
    const path = join(folder, 'bad.gguf');
    writeFileSync(path, gguf([]));
    // Had its time-out to end the wait, this test would have none left.
    const live = new LiveServer({ LLM_MODEL_PATH: path, START_TIMEOUT_SECS: '3600' });
    try {
      await live.server.start();
      const exit = await live.until('worker_exit');
      expect(exit).toMatchObject({ code: 1, signal: null, pid: expect.any(Number), ms: expect.any(Number) });
      expect(exit.stderr.join('\n')).toMatch(/fail|error/i);
      expect(refusal(await post(live, '/chat', { prompt: 'x' }))).toMatchObject({
        status: 503,
        message: expect.stringMatching(/^No worker can be started: exit code 1: /),
      });
    } finally {
      await live.stop();
    }
  });
});

test('a kill from outside, as when memory runs out, is distinguished from a kill by LMServ', async () => {
  await start();
  const [pid] = server!.workerPids();
  process.kill(pid!, 'SIGKILL');
  const exit = await server!.next('worker_exit');
  expect(exit).toMatchObject({ pid, signal: 'SIGKILL', reason: 'ended by SIGKILL', level: 40 });
  expect(exit.stderr.length).toBeGreaterThan(0);
  // One of ours says why: a worker that hangs, or LMServ that ends.
  await server!.until('worker_ready', (line) => line.pid !== pid);
  server!.signal('SIGTERM');
  await server!.until('stopping');
  server!.signal('SIGTERM');
  expect(await server!.until('worker_exit', (line) => line.pid !== pid)).toMatchObject({
    reason: 'shutdown',
  });
});
