import { EventEmitter, once } from 'node:events';
import { BlockList } from 'node:net';
import { Readable } from 'node:stream';
import { pino, type Logger } from 'pino';
import type { Express } from 'express';
import supertest from 'supertest';
import type { BackendStatus, Generate, ReplyEvent } from '../../src/contract.js';
import { createApp, type AppOptions, type HttpSettings } from '../../src/http/app.js';
import { keyAuth, type KeyAuthOptions } from '../../src/http/auth.js';
import { InFlight } from '../../src/http/in-flight.js';
import type { Health, ModelSource } from '../../src/http/read-routes.js';
import type { RequestRecord } from '../../src/http/request-log.js';
import { Keyring } from '../../src/accounts/keys/keyring.js';
import { scripted } from './pulled.js';

export const KEY = 'test-key';

const keyring = new Keyring({ apiKey: KEY });

/** Requires a key that `lookup` knows, except from a keyless network. */
export function keyed(
  lookup: KeyAuthOptions['lookup'] = (key) => keyring.authenticate(key),
  network?: string,
): AppOptions['authenticate'] {
  const keyless = new BlockList();
  if (network) keyless.addSubnet(network, 8);
  return keyAuth({ lookup, open: false, keyless });
}

const COUNTS = {
  workers: { total: 2, idle: 1, busy: 1, starting: 0, dead: 0 },
  slots: { total: 2, idle: 1 },
  queue: { waiting: 0, limit: 64 },
};

export const HEALTHY: Health = {
  status: 'ok',
  ...COUNTS,
  model: 'test-model',
  version: '1.2.3',
  models: { loaded: 0, loading: 0, unloaded: 0, failed: 0 },
};

/** One backend with one model; by default it is ready. */
export function fakeBackends(state: Partial<BackendStatus> = {}): ModelSource {
  return {
    status: () => [{ ready: true, starting: false, ...COUNTS, ...state }],
    registry: {
      list: () => [{ id: 'test-model', created: 1_700_000_000, ownedBy: 'lmserv' }],
      defaultId: 'test-model',
      defaultModels: ['test-model'],
      takesImages: true,
    },
  };
}

/** Admits everybody; its reports are empty. */
export const accounting: AppOptions['accounting'] = {
  admit: (caller, tenant) => tenant ?? caller.name,
  report: async () => ({ contentType: 'application/json', pieces: Readable.from(['{}']) }),
};

export interface TestOptions extends Omit<AppOptions, 'settings'>, HttpSettings {
  readonly onRequestDone: (record: RequestRecord) => void;
}

/** The app over a fake `generate`: everything of HTTP, nothing below it. */
export function testApp({ onRequestDone = () => undefined, ...options }: Partial<TestOptions> = {}): Express {
  return createApp({
    version: HEALTHY.version,
    generate: saying('Hello', ' world'),
    evaluate: async () => ({ vectors: [[0.6, 0.8]], promptTokens: 3 }),
    askTokens: async () => 7,
    residence: { load: async () => undefined, keep: async () => undefined },
    authenticate: keyed(),
    backends: fakeBackends(),
    accounting,
    metrics: { expose: async () => ({ contentType: 'text/plain', body: '' }) },
    observer: { requestBegan: () => () => undefined, requestDone: onRequestDone },
    inFlight: new InFlight(),
    logger: pino({ level: 'silent' }),
    ...options,
    settings: {
      allowedHosts: [],
      corsOrigins: [],
      trustProxy: false,
      healthFormat: 'text',
      maxBodyBytes: 10_000,
      rateLimitQps: 0,
      ...options,
    },
  });
}

/** GET with the key. */
export const get = (path: string, app: Express = testApp()) => supertest(app).get(path).set('X-API-Key', KEY);

/** POST with the key, to an app or one with these options; an object is sent as JSON, a string or bytes as they are. */
export const post = (path: string, body: object | string, to: Express | Partial<TestOptions> = {}) =>
  supertest(typeof to === 'function' ? to : testApp(to))
    .post(path)
    .set({ 'X-API-Key': KEY, 'Content-Type': 'application/json' })
    .serialize((data: unknown) => (Buffer.isBuffer(data) ? data : JSON.stringify(data)) as string)
    .send(body);

/** Collects the records of requests; `ended(n)` resolves with all of them once n requests have ended. */
export function recording() {
  const records: RequestRecord[] = [];
  const events = new EventEmitter();
  const onRequestDone = (record: RequestRecord): void => {
    records.push(record);
    events.emit('record');
  };
  const ended = async (count = 1): Promise<readonly RequestRecord[]> => {
    while (records.length < count) await once(events, 'record');
    return records;
  };
  return { onRequestDone, ended };
}

/** A logger that keeps its lines. */
export function keptLog(level: string): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  return { lines, logger: pino({ level }, { write: (line: string) => void lines.push(line) }) };
}

/** The events of a reply that says these pieces and stops. */
export function events(...pieces: string[]): ReplyEvent[] {
  return [
    { type: 'prefill', promptTokens: 7 },
    ...pieces.map((text): ReplyEvent => ({ type: 'text', index: 0, text })),
    { type: 'finish', index: 0, reason: 'stop' },
    { type: 'usage', usage: { promptTokens: 7, completionTokens: pieces.length, cachedTokens: 3 } },
  ];
}

/** A generate that plays events and notes what it was asked. */
export function playing(script: Iterable<ReplyEvent> | (() => AsyncIterable<ReplyEvent>)): Generate & {
  readonly requests: Parameters<Generate>[0][];
} {
  const requests: Parameters<Generate>[0][] = [];
  const generate = scripted((request, { trace }) => {
    requests.push(request);
    trace.model = 'test-model';
    return typeof script === 'function' ? script() : script;
  });
  return Object.assign(generate, { requests });
}

/** A generate that says these pieces. */
export function saying(...pieces: string[]) {
  return playing(events(...pieces));
}

/** A generate that gives some events and then fails. */
export function failing(error: Error, ...before: ReplyEvent[]) {
  return playing(async function* () {
    yield* before;
    throw error;
  });
}
