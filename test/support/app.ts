import { BlockList } from 'node:net';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import type { Express } from 'express';
import type { BackendStatus, Generate, ReplyEvent } from '../../src/contract.js';
import { createApp, type AppOptions, type HttpSettings } from '../../src/http/app.js';
import { keyAuth } from '../../src/http/auth.js';
import { InFlight } from '../../src/http/in-flight.js';
import type { Health, ModelSource } from '../../src/http/read-routes.js';
import type { RequestRecord } from '../../src/http/request-log.js';
import { Keyring } from '../../src/accounts/keys/keyring.js';
import { scripted } from './pulled.js';

export const KEY = 'test-key';

const keyring = new Keyring({ apiKey: KEY });
export const lookup = (key: string) => keyring.authenticate(key);

const COUNTS = {
  workers: { total: 2, idle: 1, busy: 1, starting: 0, dead: 0 },
  slots: { total: 2, idle: 1 },
  queue: { waiting: 0, limit: 64 },
};

export const HEALTHY: Health = { status: 'ok', ...COUNTS, model: 'test-model', version: '1.2.3' };

/** One backend with one model; by default it is ready. */
export function fakeBackends(state: Partial<BackendStatus> = {}): ModelSource {
  return {
    status: () => [{ ready: true, starting: false, ...COUNTS, ...state }],
    registry: {
      list: () => [{ id: 'test-model', created: 1_700_000_000, ownedBy: 'lmserv' }],
      defaultId: 'test-model',
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
    authenticate: keyAuth({ lookup, open: false, keyless: new BlockList() }),
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

/** Parses the `data:` payloads of an SSE text; `[DONE]` stays a string. */
export function sseData(text: string): any[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => (block === 'data: [DONE]' ? '[DONE]' : JSON.parse(block.slice(6))));
}
