import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { Agent } from 'node:http';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { exchange, get, json, refusal, type Reply } from '../support/exchange.js';
import { CLI, compile, ENDLESS, LiveProcess, LiveServer, processSettings } from '../support/live.js';
import { emptyFolder } from '../support/folder.js';
import { descriptorsOf } from '../harness/processes.js';
import { begun, KEY, send } from './requests.js';

/** What LMServ does when a resource of its own runs out, on real llama.cpp. */

const story = (max_tokens: number) => ({ prompt: 'Tell me a story', max_tokens });

const chat = (server: { url: string }, tokens: number) => send(server, '/chat', story(tokens));

/** A reply that is still going on. */
const openReply = (server: { url: string }, tokens: number) => begun(server, '/chat', story(tokens));

const folder = emptyFolder();

describe('with all slots in use and a full queue', () => {
  let server: LiveServer;

  beforeEach(async () => {
    server = await new LiveServer({
      QUEUE_LIMIT: '2',
      LLM_CTX_SIZE: '65536',
      LLM_EXTRA_ARGS: ENDLESS,
    }).start();
  });

  afterEach(() => server.stop());

  /** One that is served and two that wait; what came of those that wait. */
  async function full() {
    const running = await openReply(server, 60_000);
    const answered: number[] = [];
    const waiting = [0, 1].map((i) => {
      const exchange = chat(server, 4);
      exchange.reply.then(() => answered.push(i)).catch(() => undefined);
      return exchange;
    });
    await server.untilReady(({ queue }) => queue.waiting === 2);
    return { running, waiting, answered };
  }

  test('health replies while the requests still wait', async () => {
    const { running, waiting, answered } = await full();
    expect((await chat(server, 4).reply).status).toBe(503);
    const health = await get(`${server.url}/health`, { Accept: 'application/json' });
    expect(health.status).toBe(200);
    expect(json(health)).toMatchObject({ status: 'ok', slots: { idle: 0 }, queue: { waiting: 2 } });
    expect((await get(`${server.url}/health`)).text).toBe('ok – workers idle: 0');
    expect(answered).toEqual([]);
    running.abort();
    await Promise.all(waiting.map(({ reply }) => reply));
    expect(answered).toEqual([0, 1]);
  });

  test('the request of a client that leaves is removed from the queue and never runs', async () => {
    const { running, waiting } = await full();
    waiting[0]!.abort();
    const line = await server.until('request', ({ outcome }) => outcome === 'cancelled');
    expect(line.worker).toBeUndefined();
    expect(line.ttftMs).toBeUndefined();
    await server.untilReady(({ queue }) => queue.waiting === 1);
    // The other one is next, though it came later.
    running.abort();
    expect((await waiting[1]!.reply).status).toBe(200);
  });
});

describe('without free descriptors', () => {
  /** POST /chat on a connection that is kept open. */
  const post = (url: string, agent: Agent): Promise<Reply> =>
    exchange(`${url}/chat`, { headers: KEY, body: { prompt: 'x', max_tokens: 2 }, agent });

  /** A connection that the server keeps for its keep-alive time; accepted when there is a descriptor for it. */
  function open(url: string): Socket {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname).on('error', () => undefined);
    // Its answer is not waited for: without a descriptor none comes.
    socket.resume().write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    return socket;
  }

  /** Opens connections until the server has no descriptor left to serve a POST; the POST's reply and what was opened. */
  async function exhaust(url: string) {
    const sockets: Socket[] = [];
    let refused = await post(url, agent);
    while (refused.status === 200) {
      sockets.push(open(url));
      refused = await post(url, agent);
    }
    return { refused, sockets };
  }

  /** Keeps one connection, so that a POST needs no descriptor for its own. */
  let agent: Agent;
  let server: LiveProcess;

  // The soft limit alone, which may be raised again.
  const limit = (count: number) => execa('prlimit', ['--pid', String(server.pid), `--nofile=${count}:`]);

  /** Leaves so many descriptors. */
  const leave = (count: number) => limit(descriptorsOf(server.pid) + count);

  beforeEach(async () => {
    server = await LiveProcess.start(folder, {
      ...{ LLM_SLOTS: '2', LLM_CTX_SIZE: '16384', LLM_EXTRA_ARGS: ENDLESS },
    });
    agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }, 180_000);

  afterEach(async () => {
    agent.destroy();
    await server.kill();
  });

  test('open streams continue, a request gets 503 without harm to a worker, and the server recovers', async () => {
    const reply = await openReply(server, 3_000);
    expect((await post(server.url, agent)).status).toBe(200);
    await leave(5);
    const { refused, sockets } = await exhaust(server.url);
    expect(refusal(refused)).toMatchObject({
      status: 503,
      code: 'unavailable',
      message: 'The server has no file descriptor left',
    });
    const before = reply.chunks;
    const whole = await reply.reply;
    expect(whole).toMatchObject({ cut: false, trailers: { 'x-finish-reason': 'length' } });
    expect(whole.chunks.length).toBeGreaterThan(before);
    for (const socket of sockets) socket.destroy();
    await untilServed();
    expect(server.logged('worker_exit')).toEqual([]);
    expect(server.logged('worker_failed_request')).toEqual([]);
  });

  test('a worker that dies is replaced as soon as descriptors are free', async () => {
    expect((await post(server.url, agent)).status).toBe(200);
    await leave(5);
    const { sockets } = await exhaust(server.url);
    process.kill(server.workerPids()[0]!, 'SIGKILL');
    await server.until('worker_exit', ({ signal }) => signal === 'SIGKILL');
    expect(await server.until('worker_exit', ({ signal }) => signal === null)).toMatchObject({
      reason: 'cannot be run: EMFILE',
    });
    for (const socket of sockets) socket.destroy();
    await limit(1024);
    await server.next('worker_ready');
    await untilServed();
    expect(server.logged('crash')).toEqual([]);
  });

  /** A request may meet descriptors that are not free yet. */
  async function untilServed(): Promise<void> {
    let reply: Reply | undefined;
    while (reply?.status !== 200) reply = await chat(server, 2).reply.catch(() => undefined);
  }
});

describe('when the log cannot be written', () => {
  /** A server whose log goes where it is told; where it listens is known from its greeting on stderr. */
  class Unlogged {
    private constructor(
      readonly process: ChildProcess,
      readonly url: string,
    ) {}

    static async start(stdout: number | 'pipe'): Promise<Unlogged> {
      await compile();
      const server = spawn(process.execPath, [CLI, 'serve'], {
        cwd: folder,
        // The open routes are logged at debug.
        env: { ...processSettings(folder), LLM_EXTRA_ARGS: ENDLESS, LOG_LEVEL: 'DEBUG' },
        stdio: ['ignore', stdout, 'pipe'],
      });
      for await (const line of createInterface(server.stderr!)) {
        const url = /ready at (\S+) /.exec(line)?.[1];
        if (url) return new Unlogged(server, url);
      }
      throw new Error('the server ended at its start');
    }

    /** Ends it in good order; the exit code. */
    async stop(): Promise<number | null> {
      const exited = once(this.process, 'exit') as Promise<[number | null]>;
      this.process.kill('SIGTERM');
      return (await exited)[0];
    }

    /** Ends it as the kernel would, if it is still there. */
    async kill(): Promise<void> {
      if (this.process.exitCode !== null || this.process.signalCode !== null) return;
      const exited = once(this.process, 'exit');
      this.process.kill('SIGKILL');
      await exited;
    }
  }

  /** Sends so many requests of the cheapest kind on one connection, few enough at a time for one connection. */
  async function askMany(url: string, count: number): Promise<void> {
    const batch = 10;
    const socket = connect(Number(new URL(url).port), '127.0.0.1').setEncoding('utf8');
    const send = () => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(batch));
    const end = 'LMServ is running.';
    let answered = 0;
    let rest = '';
    send();
    for await (const text of socket as AsyncIterable<string>) {
      const parts = (rest + text).split(end);
      const before = answered;
      answered += parts.length - 1;
      rest = parts.at(-1)!;
      if (answered === count) break;
      if (Math.floor(answered / batch) > Math.floor(before / batch)) send();
    }
  }

  let server: Unlogged;

  afterEach(() => server.kill());

  test('because the disk is full, everything is served and the shutdown is orderly', async () => {
    server = await Unlogged.start(openSync('/dev/full', 'w'));
    expect(await chat(server, 8).reply).toMatchObject({ status: 200, cut: false });
    expect(await server.stop()).toBe(0);
  });

  test('because its reader has exited, everything is served and the shutdown is orderly', async () => {
    server = await Unlogged.start('pipe');
    server.process.stdout!.destroy();
    await once(server.process.stdout!, 'close');
    expect(await chat(server, 8).reply).toMatchObject({ status: 200, cut: false });
    expect(await server.stop()).toBe(0);
  });

  test('because its reader stops reading, streams continue, and lines are dropped and counted except the last ones', async () => {
    server = await Unlogged.start('pipe');
    // More lines than fit into the pipe and the backlog.
    await askMany(server.url, 7_500);
    expect(await chat(server, 50).reply).toMatchObject({
      cut: false,
      trailers: { 'x-finish-reason': 'length' },
    });
    const lines: any[] = [];
    const dropped = new Promise<any>((resolve) => {
      createInterface(server.process.stdout!).on('line', (text) => {
        const line = JSON.parse(text);
        lines.push(line);
        if (line.event === 'log_dropped') resolve(line);
      });
    });
    expect((await dropped).lines).toBeGreaterThan(0);
    const written = lines.filter(
      ({ event }) => event === 'request' || event.startsWith('generation_'),
    ).length;
    // The open routes and the reply, and the attempt, model, start and end of its generation.
    expect(written + (await dropped).lines).toBe(7_505);
    const ended = once(server.process.stdout!, 'close');
    expect(await server.stop()).toBe(0);
    await ended;
    expect(lines.at(-1)).toMatchObject({ event: 'stopped' });
  });
});
