import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { threadMs } from './pauses.js';
import { type Certificate, type HostileRemote, MISBEHAVIOURS } from './remote.js';
import { stillLlama } from '../../harness/processes.js';
import { DEMO_MODEL, KEY, type LoggedWorker, type ServerProcess } from '../../harness/server-process.js';
import { ROOT } from '../../../src/config/root.js';
import { writeProjector } from '../../../bench/model/companions.js';
import { progressDeadlines } from '../run.js';
import type { Random } from '../../harness/random.js';

/** A request to the attacked server. */
interface Question {
  readonly port: number;
  readonly key: string;
  /** GET without a body. */
  readonly path: string;
  readonly body?: unknown;
  /** Gives up then, milliseconds. */
  readonly withinMs: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  /** undefined if there was no reply. */
  readonly status: number | undefined;
  /** Its first part, so that no long reply harms this process. */
  readonly text: string;
  /** It is complete. */
  readonly whole: boolean;
}

/** Characters kept of a reply. */
const KEPT = 65_536;

/** Sends a request on its own connection. Never rejects. A text, bytes or a stream are sent unchanged. */
function ask({ port, key, path, body, withinMs, headers }: Question): Promise<Answer> {
  return new Promise((resolve) => {
    let status: number | undefined;
    let whole = false;
    let text = '';
    const request = httpRequest({
      host: '127.0.0.1',
      port,
      path,
      agent: false,
      method: body === undefined ? 'GET' : 'POST',
      headers: { 'X-API-Key': key, 'Content-Type': 'application/json', ...headers },
    });
    const timer = setTimeout(() => request.destroy(), withinMs);
    request.on('error', () => undefined);
    request.on('close', () => {
      clearTimeout(timer);
      resolve({ status, text, whole });
    });
    request.on('response', (response) => {
      status = response.statusCode;
      response.on('error', () => undefined);
      response.on('end', () => (whole = response.complete));
      response.setEncoding('utf8').on('data', (piece: string) => {
        if (text.length < KEPT) text += piece;
      });
    });
    if (isStream(body)) body.pipe(request);
    else request.end(isText(body) ? body : JSON.stringify(body));
  });
}

function isText(body: unknown): body is string | Buffer | undefined {
  return body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
}

function isStream(body: unknown): body is Readable {
  return typeof (body as Readable | undefined)?.pipe === 'function';
}

export const CLASSES = ['clients', 'remotes', 'files', 'clocks'] as const;
export type Class = (typeof CLASSES)[number];

/** One attack of a few seconds at most, which restores what it changes. */
export interface Action {
  readonly name: string;
  readonly cls: Class;
  readonly run: (world: World, random: Random) => Promise<unknown>;
}

/** Names in the key file; the key of each is `key-NAME`. */
export const KEYS = ['greedy', 'modest', 'odd', 'revocable'] as const;
type KeyName = (typeof KEYS)[number];

/** How long a worker may make no progress, milliseconds. */
export const HANG_MS = 2_000;

/** Slots and workers by model: attacks break `spare` and `boxed`, which takes images; clients of `demo` must be served. */
export const MODELS = {
  demo: { workers: 2, slots: 2 },
  spare: { workers: 1, slots: 1 },
  boxed: { workers: 1, slots: 1 },
} as const;

export const SETTINGS = {
  HEALTH_FORMAT: 'json',
  ...progressDeadlines(HANG_MS),
  QUEUE_LIMIT: '16',
  SHUTDOWN_GRACE_SECS: '2',
  QUEUE_TIMEOUT_SECS: '10',
  RESUME_TIMEOUT_SECS: '5',
} as const;

const TIMEOUTS = { connectSecs: 1, firstTokenSecs: 3, tokenSecs: 3, totalSecs: 6 };

/** Paths in a run's folder. */
export class Files {
  readonly keys: string;
  readonly config: string;
  readonly model: string;
  readonly projector: string;
  readonly temporary: string;
  readonly usage: string;

  constructor(readonly folder: string) {
    this.keys = join(folder, 'keys/keys.json');
    this.config = join(folder, 'config/lmserv.config.json');
    this.model = join(folder, 'models/spare.gguf');
    this.projector = join(folder, 'models/mmproj.gguf');
    this.temporary = join(folder, 'temporary');
    this.usage = join(folder, 'usage.sqlite');
  }

  /** Variables that point the server at them. */
  get settings(): Record<string, string> {
    return { API_KEYS_FILE: this.keys, LMSERV_CONFIG: this.config, TMPDIR: this.temporary };
  }

  async prepare(config: string): Promise<void> {
    for (const name of ['keys', 'config', 'models', 'temporary']) mkdirSync(join(this.folder, name));
    symlinkSync(DEMO_MODEL, this.model);
    await writeProjector(this.projector);
    writeFileSync(this.keys, keyText(KEYS));
    writeFileSync(this.config, config);
  }
}

/** A key file with these keys. */
export function keyText(names: readonly string[]): string {
  const entry = (name: string) => ({
    name,
    sha256: createHash('sha256').update(`key-${name}`).digest('hex'),
    tenants: ['*'],
  });
  return JSON.stringify({ keys: names.map(entry) });
}

/** Local models, a remote for each misbehaviour, and a group whose name marks this configuration. */
export function configText(files: Files, remote: HostileRemote, mark: string): string {
  const local = { threads: 1, cacheRamMb: 0, context: 2048, pin: true };
  const remoteOf = (baseUrl: string, model: string) => ({
    baseUrl,
    model,
    timeouts: TIMEOUTS,
    retries: { attempts: 1, budgetSecs: 1 },
    price: { prompt: 1, completion: 1 },
  });
  const bad = Object.keys(MISBEHAVIOURS).map((name) => [name, remoteOf(remote.baseUrl, name)] as const);
  return JSON.stringify({
    models: {
      demo: { ...local, ...MODELS.demo, path: DEMO_MODEL },
      spare: { ...local, ...MODELS.spare, path: files.model },
      boxed: {
        ...local,
        ...MODELS.boxed,
        path: DEMO_MODEL,
        extraArgs: ['--mmproj', files.projector],
        binPath: boxedBinary(),
      },
    },
    remotes: {
      ...Object.fromEntries(bad),
      down: remoteOf('http://127.0.0.1:9', 'x'),
      ...(remote.tlsUrl === undefined ? {} : { 'bad-certificate': remoteOf(remote.tlsUrl, 'page') }),
    },
    groups: { [mark]: { members: ['demo'] } },
    default: 'demo',
  });
}

/** The llama-server beside llama-cli: it keeps its socket in the folder for temporary files. */
function boxedBinary(): string {
  const cli = process.env.LLM_BIN_PATH ?? join(ROOT, 'vendor/llama.cpp/build/bin/llama-cli');
  return join(cli, '..', 'llama-server');
}

/** An untrusted certificate; undefined without openssl. */
export function badCertificate(folder: string): Certificate | undefined {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=elsewhere'];
  const { status } = spawnSync('openssl', [...args, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return status === 0 ? { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') } : undefined;
}

export class World {
  /**
   * @param problem called with something that must not happen
   * @param skip called with something that could not be tried here
   */
  constructor(
    readonly server: ServerProcess,
    readonly files: Files,
    readonly remote: HostileRemote,
    readonly problem: (text: string) => void,
    readonly skip: (text: string) => void,
  ) {}

  get port(): number {
    return this.server.port;
  }

  /** By default with the operator's key, and given up after 6 s. */
  ask(
    path: string,
    body?: unknown,
    rest: Partial<Question> & { readonly as?: KeyName } = {},
  ): Promise<Answer> {
    const key = rest.as === undefined ? KEY : `key-${rest.as}`;
    return ask({ port: this.port, key, path, body, withinMs: 6_000, ...rest });
  }

  chat(body: unknown, rest: Parameters<World['ask']>[2] = {}): Promise<Answer> {
    return this.ask('/v1/chat/completions', body, rest);
  }

  config(mark: string): string {
    return configText(this.files, this.remote, mark);
  }

  /** Living workers of a model that take requests. */
  workersOf(model: keyof typeof MODELS): LoggedWorker[] {
    return this.server.workers.filter(({ id, ready }) => ready && id.startsWith(`${model}#`));
  }

  /**
   * Asks again and again; whether it became true within that many milliseconds. Time in which the server or this process
   * waited for a core does not count.
   */
  async within(ms: number, isSo: () => boolean | Promise<boolean>): Promise<boolean> {
    const began = this.#clock();
    while (this.server.exit === undefined) {
      const late = this.#clock() - began > ms;
      if (await isSo()) return true;
      if (late) return false;
      await sleep(100);
    }
    return true;
  }

  #clock(): number {
    return performance.now() - threadMs(this.server.pid).waited - threadMs().waited;
  }
}

/** false if the process is gone. */
export function signalWorker({ pid }: LoggedWorker, signal: NodeJS.Signals): boolean {
  return stillLlama([pid]).length === 1 && process.kill(pid, signal);
}

/** Replaces a file in one step. */
export function replaceFile(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
