/** What hostile actions work on: a server with a folder of its own, its keys, its models and a hostile remote server. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stillLlama } from '../processes.js';
import type { Random } from '../random.js';
import type { LoggedWorker } from '../server-log.js';
import type { Server } from '../server.js';
import { ask, type Answer, type Question } from './ask.js';
import { threadMs } from './pauses.js';
import { MISBEHAVIOURS, type Certificate, type HostileRemote } from './remote.js';

export const CLASSES = ['clients', 'remotes', 'files', 'clocks'] as const;
export type Class = (typeof CLASSES)[number];

/** One hostile thing to do, a few seconds at most. What it changes it puts back. */
export interface Action {
  readonly name: string;
  readonly cls: Class;
  readonly run: (world: World, random: Random) => Promise<unknown>;
}

/** Names in the key file; the key of each is `key-NAME`. */
export const KEYS = ['greedy', 'modest', 'odd', 'revocable'] as const;
export type KeyName = (typeof KEYS)[number];

/** How long a worker may make no progress, milliseconds. */
export const HANG_MS = 2_000;

/** Slots and workers by model: `spare` and `boxed` are there to be broken, clients of `demo` are to be served. */
export const MODELS = {
  demo: { workers: 2, slots: 2 },
  spare: { workers: 1, slots: 1 },
  boxed: { workers: 1, slots: 1 },
} as const;

export const SETTINGS = {
  HEALTH_FORMAT: 'json',
  FIRST_TOKEN_TIMEOUT_SECS: String(HANG_MS / 1_000),
  TOKEN_TIMEOUT_SECS: String(HANG_MS / 1_000),
  QUEUE_TIMEOUT_SECS: '10',
  RESUME_TIMEOUT_SECS: '5',
} as const;

const TIMEOUTS = { connectSecs: 1, firstTokenSecs: 3, tokenSecs: 3, totalSecs: 6 };

/** Paths in the folder of a run. */
export class Files {
  readonly keys: string;
  readonly config: string;
  readonly model: string;
  readonly temporary: string;
  readonly usage: string;

  constructor(readonly folder: string) {
    this.keys = join(folder, 'keys/keys.json');
    this.config = join(folder, 'config/lmserv.config.json');
    this.model = join(folder, 'models/spare.gguf');
    this.temporary = join(folder, 'temporary');
    this.usage = join(folder, 'usage.sqlite');
  }

  /** Variables by which the server finds them. */
  get settings(): Record<string, string> {
    return { API_KEYS_FILE: this.keys, LMSERV_CONFIG: this.config, TMPDIR: this.temporary };
  }

  prepare(model: string, config: string): void {
    for (const name of ['keys', 'config', 'models', 'temporary']) mkdirSync(join(this.folder, name));
    symlinkSync(model, this.model);
    writeFileSync(this.keys, keyText(KEYS));
    writeFileSync(this.config, config);
  }
}

/** A key file that has these keys. */
export function keyText(names: readonly string[]): string {
  const entry = (name: string) => ({
    name,
    sha256: createHash('sha256').update(`key-${name}`).digest('hex'),
    tenants: ['*'],
  });
  return JSON.stringify({ keys: names.map(entry) });
}

/** Local models, a remote for each misbehaviour, and a group by whose name a configuration is told from another. */
export function configText(root: string, files: Files, remote: HostileRemote, mark: string): string {
  const demo = join(root, 'models/lmserv-demo.gguf');
  const local = { threads: 1, cacheRamMb: 0, context: 2048 };
  const remoteOf = (baseUrl: string, model: string) => ({
    ...{ baseUrl, model, timeouts: TIMEOUTS, retries: { attempts: 1, budgetSecs: 1 } },
    price: { prompt: 1, completion: 1 },
  });
  const bad = Object.keys(MISBEHAVIOURS).map((name) => [name, remoteOf(remote.baseUrl, name)] as const);
  return JSON.stringify({
    models: {
      demo: { ...local, ...MODELS.demo, path: demo },
      spare: { ...local, ...MODELS.spare, path: files.model },
      boxed: { ...local, ...MODELS.boxed, path: demo, binPath: boxedBinary(root) },
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

/** A llama-server keeps its socket in the folder for temporary files; it lies beside llama-cli. */
function boxedBinary(root: string): string {
  const cli = process.env.LLM_BIN_PATH ?? join(root, 'vendor/llama.cpp/build/bin/llama-cli');
  return join(cli, '..', 'llama-server');
}

/** A certificate that nobody trusts; undefined without openssl. */
export function badCertificate(folder: string): Certificate | undefined {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=elsewhere'];
  const { status } = spawnSync('openssl', [...args, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return status === 0 ? { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') } : undefined;
}

export interface WorldOptions {
  readonly root: string;
  readonly server: Server;
  readonly files: Files;
  readonly remote: HostileRemote;
  /** Something that must not be was seen. */
  readonly onProblem: (text: string) => void;
  /** Something could not be tried here. */
  readonly onSkip: (text: string) => void;
}

export class World {
  readonly server: Server;
  readonly files: Files;
  readonly remote: HostileRemote;
  readonly problem: (text: string) => void;
  readonly skip: (text: string) => void;
  readonly #root: string;

  constructor({ root, server, files, remote, onProblem, onSkip }: WorldOptions) {
    this.#root = root;
    this.server = server;
    this.files = files;
    this.remote = remote;
    this.problem = onProblem;
    this.skip = onSkip;
  }

  get port(): number {
    return this.server.target.port;
  }

  /** Asks as the operator unless another key is named; gives up after 6 s unless told otherwise. */
  ask(
    path: string,
    body?: unknown,
    rest: Partial<Question> & { readonly as?: KeyName } = {},
  ): Promise<Answer> {
    const key = rest.as === undefined ? this.server.target.key : `key-${rest.as}`;
    return ask({ port: this.port, key, path, body, withinMs: 6_000, ...rest });
  }

  chat(body: unknown, rest: Parameters<World['ask']>[2] = {}): Promise<Answer> {
    return this.ask('/v1/chat/completions', body, rest);
  }

  config(mark: string): string {
    return configText(this.#root, this.files, this.remote, mark);
  }

  /** Living workers of a model that take requests. */
  workersOf(model: keyof typeof MODELS): LoggedWorker[] {
    return this.server.log.workers.filter(({ id, ready }) => ready && id.startsWith(`${model}#`));
  }

  /**
   * Asks again and again until it is so; whether it ever was within that many milliseconds, those not counted in which
   * the server or this process waited for a core.
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

/** false when the process is gone. */
export function signalWorker({ pid }: LoggedWorker, signal: NodeJS.Signals): boolean {
  return stillLlama([pid]).length === 1 && process.kill(pid, signal);
}

/** Puts a text into a file's place in one step. */
export function replaceFile(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
