/** A remote server that does what such a server must not do. The model's name says what. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { HttpServer } from '../../harness/http-server.js';
import type { Random } from '../../harness/random.js';

type Misbehave = (response: ServerResponse, random: Random) => void;

/** How long something endless takes, milliseconds, and how large its pieces are. */
const ENDLESS_MS = 2_500;
const PIECE = 60_000;

const event = (data: unknown) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;
const chunk = (choice: object) => event({ choices: [{ index: 0, delta: {}, ...choice }] });
const word = (content: unknown) => chunk({ delta: { content } });
const END = chunk({ finish_reason: 'stop' }) + event('[DONE]');

const streaming = (response: ServerResponse, headers = {}) =>
  response.writeHead(200, { 'Content-Type': 'text/event-stream', ...headers });

/** A stream of these texts with a proper end. */
const saying =
  (...texts: readonly string[]): Misbehave =>
  (response) =>
    void streaming(response).end(texts.join('') + END);

/** The same piece without an end, as fast as it is read. */
const endless =
  (piece: string | Buffer, begin = '', headers = {}): Misbehave =>
  (response) => {
    const until = performance.now() + ENDLESS_MS;
    streaming(response, headers).write(begin);
    const more = (): void => {
      if (response.destroyed) return;
      if (performance.now() > until) response.end();
      else if (response.write(piece)) setImmediate(more);
      else response.once('drain', more);
    };
    more();
  };

const refusal = (message: string): Misbehave => {
  const body = JSON.stringify({ error: { message, type: 'invalid_request_error' } });
  return (response) => void response.writeHead(400, { 'Content-Type': 'application/json' }).end(body);
};

const toolCall = (index: number) =>
  chunk({ delta: { tool_calls: [{ index, id: `c${index}`, function: { name: 'f', arguments: '{}' } }] } });

/** An error text that LMServ searches for clients' texts. */
export const REFUSAL = 'Unsupported value for temperature';

/** By the name of the requested model. */
export const MISBEHAVIOURS: Readonly<Record<string, Misbehave>> = {
  refuse: refusal(REFUSAL),
  'refuse-at-length': refusal(`${REFUSAL} `.repeat(60_000)),
  'lines-without-end': endless('data:x\n'.repeat(PIECE / 7)),
  'endless-line': endless('z'.repeat(PIECE), 'data: '),
  'endless-events': endless(word('y'.repeat(PIECE))),
  'endless-small-events': endless(word('y').repeat(500)),
  'endless-comments': endless(': keep-alive\n\n'.repeat(4_000)),
  logprobs: endless(
    chunk({
      delta: { content: 'y' },
      logprobs: { content: Array(500).fill({ token: 'a', logprob: 0, top_logprobs: [] }) },
    }),
  ),
  'tool-index': saying(toolCall(60_000_000)),
  'many-tools': saying(...Array.from({ length: 30_000 }, (_, index) => toolCall(index))),
  'choice-index': saying(event({ choices: [{ index: 60_000_000, delta: { content: 'y' } }] })),
  'gzip-bomb': (response, random) => {
    const bomb = gzipSync(Buffer.alloc(8 * 2 ** 20, word('y')));
    endless(bomb, '', { 'Content-Encoding': random.pick(['gzip', 'gzip, gzip', 'br']) })(response, random);
  },
  'half-closed': (response) => {
    streaming(response).write(word('y'));
    setTimeout(() => response.socket?.end(), 100);
  },
  reset: (response, random) => {
    if (random.chance(0.5)) streaming(response).write(word('y'));
    setTimeout(() => response.socket?.resetAndDestroy(), random.int(0, 100));
  },
  'wrong-types': (response, random) => {
    const values = [null, 0, -1, 'y', [], {}, [[]], { length: 1e9 }, true, '__proto__'];
    const value = () => random.pick(values);
    const odd = () =>
      event({
        choices: [{ index: value(), delta: random.pick([value(), { content: value() }]) }],
        usage: value(),
      });
    saying(...Array.from({ length: 50 }, odd), event({ choices: value() }), event('null'))(response, random);
  },
  'usage-nan': (response, random) => {
    const count = random.pick(['NaN', '1e999', '-5', '"7"', '1e300', '9007199254740993', '0.5']);
    const usage = `{"choices":[],"usage":{"prompt_tokens":${count},"completion_tokens":${count}}}`;
    saying(word('y'), event(usage))(response, random);
  },
  'finish-reason': saying(word('y'), chunk({ finish_reason: 'because\r\nX-Injected: 1' })),
  trickle: (response) => {
    const bytes = word('slow').repeat(10);
    streaming(response);
    let at = 0;
    const timer = setInterval(() => response.write(bytes[at++ % bytes.length]), 30);
    response.once('close', () => clearInterval(timer));
  },
  'deep-json': saying(event(`{"choices":${'['.repeat(200_000)}${']'.repeat(200_000)}}`)),
  'broken-bytes': (response, random) =>
    void streaming(response).end(Buffer.from(Array.from({ length: 20_000 }, () => random.int(0, 255)))),
  'short-body': (response) => {
    streaming(response, { 'Content-Length': 100_000 }).write(word('y'));
    setTimeout(() => response.socket?.destroy(), 100);
  },
  'huge-headers': (response) =>
    void streaming(response, { 'X-Huge': 'h'.repeat(400_000) }).end(word('y') + END),
  redirect: (response, random) => {
    const Location = random.pick([
      '/v1/chat/completions',
      'http://127.0.0.1:9/',
      'file:///etc/hostname',
      '//[',
    ]);
    response.writeHead(random.pick([301, 302, 307, 308]), { Location }).end();
  },
  silent: () => undefined,
  'not-http': (response) => void response.socket?.end('SSH-2.0-OpenSSH_9.0\r\n'),
  page: (response) =>
    void response.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>'.repeat(9_999)),
};

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

export class HostileRemote {
  readonly baseUrl: string;
  /** undefined if no certificate could be made. */
  readonly tlsUrl: string | undefined;
  readonly #servers: readonly HttpServer[];

  private constructor(plain: HttpServer, tls: HttpServer | undefined) {
    this.baseUrl = plain.url;
    this.tlsUrl = tls && `https://127.0.0.1:${tls.port}`;
    this.#servers = tls ? [plain, tls] : [plain];
  }

  static async start(random: Random, certificate: Certificate | undefined): Promise<HostileRemote> {
    const onRequest = (request: IncomingMessage, response: ServerResponse) =>
      void misbehave(request, response, random);
    const tls = certificate && createTlsServer(certificate, onRequest).on('tlsClientError', () => undefined);
    return new HostileRemote(await HttpServer.start(onRequest), tls && (await HttpServer.start(tls)));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
  }
}

async function misbehave(request: IncomingMessage, response: ServerResponse, random: Random): Promise<void> {
  response.on('error', () => undefined);
  try {
    const { model } = JSON.parse(await text(request)) as { model: string };
    MISBEHAVIOURS[model]?.(response, random);
  } catch {
    response.destroy();
  }
}
