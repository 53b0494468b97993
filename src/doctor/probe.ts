/** What the checks ask of the machine. */

import { execFile } from 'node:child_process';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { type ResolvedBinary, resolveBinary } from '../../workers/binary.js';
import { Catalogue } from '../catalogue/catalogue.js';
import { runtimeEnv } from '../../workers/options.js';
import { freeBytes } from '../install/files.js';
import { statPath, type Disk } from '../install/models/inspect.js';
import { readHead } from '../install/models/gguf.js';
import { findDownloaded } from '../install/models/record.js';
import { parseModelSpec, specKey } from '../install/models/spec.js';
import { chooseFlavours, neededLibraries, type BuildChoice } from '../install/llama/choose.js';
import { readPin } from '../install/llama/context.js';
import { readMachine } from '../install/llama/machine.js';
import { findProgram } from '../install/llama/programs.js';
import { readText } from '../files/read-text.js';
import { readCards, type Card } from '../observe/gpus.js';
import { ROOT } from '../config/root.js';
import type { CatalogueSettings } from './settings.js';

/** What the checks may ask of the machine. Nothing here changes anything, and every answer takes seconds at most. */
export interface Probe extends Disk {
  /** Node's version, without a `v`. */
  readonly node: string;
  readonly platform: NodeJS.Platform;
  /** Cores this process may use. */
  readonly cores: number;
  readonly memory: MemoryFacts;
  /**
   * A program's output, both streams; undefined when it is missing, fails or takes too long.
   *
   * @param gpus as in LLM_GPUS: the only ones that a llama.cpp program is to see.
   */
  exec(file: string, args: readonly string[], gpus?: readonly string[]): Promise<string | undefined>;
  /** What the drivers say about the cards. */
  readCards(): Promise<readonly Card[]>;
  /** Path of a program on PATH. */
  findProgram(name: string): Promise<string | undefined>;
  /** @throws the system's error */
  readText(path: string): Promise<string>;
  /** Free bytes on the disk of a folder. @throws the system's error */
  freeBytes(folder: string): Promise<number>;
  /** Listens and stops again; returns the system's error code when it cannot. */
  tryListen(host: string, port: number): Promise<string | undefined>;
  /** The beginning of what a URL returns; undefined when nothing arrives. */
  getText(url: string): Promise<string | undefined>;
  /** What LMServ returns at a URL, for a key; undefined when that is not JSON or comes with an error. */
  getJson(url: string, key: string): Promise<unknown>;
  /** @throws BinaryError */
  resolveBinary(configured: string | undefined): Promise<ResolvedBinary>;
  /** What the server would serve, and the files that it would not. */
  lookAtModels(settings: CatalogueSettings): Promise<Pick<Catalogue, 'file' | 'unusable'>>;
  /** What `npm run setup` would choose here, and why. */
  chooseBuild(): Promise<BuildChoice>;
  /** Where a model of the hub's (`hf:org/repo:quant`) was downloaded to; undefined when it was not. @throws ModelError */
  findDownloaded(spec: string): Promise<string | undefined>;
}

/** Bytes. */
interface MemoryFacts {
  readonly total: number;
  readonly free: number;
  /** Of the control group this runs in; undefined when there is none. */
  readonly limit: number | undefined;
}

/** Milliseconds; nvidia-smi takes seconds while the driver wakes up. */
const EXEC_TIMEOUT_MS = 8_000;
const EXEC_OUTPUT = 256 * 1024;
const GET_TIMEOUT_MS = 1_500;
const GET_BYTES = 256;
const JSON_BYTES = 2 ** 20;

/** The machine this runs on. @param env where to search for programs, and what they are given, filtered */
export function systemProbe(env: NodeJS.ProcessEnv): Probe {
  return {
    node: process.versions.node,
    platform: process.platform,
    cores: availableParallelism(),
    memory: memoryFacts(),
    exec: (file, args, gpus = []) => exec(file, args, runtimeEnv(env, gpus)),
    readCards: () => readCards(runtimeEnv(env, [])),
    findProgram: (name) => findProgram(name, env),
    stat: statPath,
    readText: async (path) => (await readText(path)).text,
    readHead,
    freeBytes,
    tryListen,
    getText: async (url) => (await fetchText(url, GET_BYTES))?.text,
    getJson,
    resolveBinary: (configured) => resolveBinary({ configured, root: ROOT, searchPath: env.PATH, env }),
    lookAtModels: ({ file, ...options }) => Catalogue.open(file, options),
    chooseBuild: async () => {
      const pin = await readPin(ROOT);
      return chooseFlavours(pin, await readMachine(neededLibraries(pin), env), env);
    },
    findDownloaded: (spec) => findDownloaded(join(ROOT, 'models'), specKey(parseModelSpec(spec))),
  };
}

function memoryFacts(): MemoryFacts {
  const total = totalmem();
  const limit = process.constrainedMemory();
  // Without a limit the system gives 0 or a number beyond all memory.
  return { total, free: process.availableMemory(), limit: limit > 0 && limit < total ? limit : undefined };
}

function exec(file: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const options = { env, timeout: EXEC_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: EXEC_OUTPUT } as const;
  return new Promise((resolve) => {
    const child = execFile(file, args, options, (error, stdout, stderr) =>
      resolve(error ? undefined : `${stdout}\n${stderr}`),
    );
    child.stdin?.on('error', () => undefined).end();
  });
}

function tryListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port }, () => server.close(() => resolve(undefined)));
  });
}

async function getJson(url: string, key: string): Promise<unknown> {
  const reply = await fetchText(url, JSON_BYTES, { 'X-API-Key': key });
  try {
    return reply?.status === 200 ? (JSON.parse(reply.text) as unknown) : undefined;
  } catch {
    return undefined;
  }
}

/** The beginning of what a URL returns, at least that many bytes if there are. */
function fetchText(
  url: string,
  bytes: number,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string } | undefined> {
  const options = { agent: false, headers, signal: AbortSignal.timeout(GET_TIMEOUT_MS) };
  return new Promise((resolve) => {
    const request = get(url, options, (response) => {
      let text = '';
      const finish = () => {
        resolve({ status: response.statusCode!, text });
        request.destroy();
      };
      response.setEncoding('latin1').on('data', (piece: string) => {
        text += piece;
        if (text.length >= bytes) finish();
      });
      response.on('end', finish).on('error', () => resolve(undefined));
    });
    request.on('error', () => resolve(undefined));
  });
}
