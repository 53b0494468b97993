import { existsSync } from 'node:fs';
import { availableParallelism, freemem } from 'node:os';
import { join, resolve } from 'node:path';
import { parse as parseDotenv } from 'dotenv';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ROOT } from './root.js';

/** The one reader of the environment: env and `.env` in, one frozen Config out. */

/** A bad value stops the start; the message is one line naming the variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

type Env = Readonly<Record<string, string | undefined>>;

const text = () => z.string();
const list = () =>
  z.string().transform((value) =>
    value
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  );
const numeric = () =>
  z
    .string()
    .regex(/^-?\d+(\.\d+)?$/, 'must be a number')
    .transform(Number);
const int = (min: number, max: number) =>
  numeric().pipe(
    z.int('must be a whole number').min(min, `must be at least ${min}`).max(max, `must be at most ${max}`),
  );
const seconds = () =>
  numeric()
    .pipe(z.number().gt(0, 'must be more than 0').max(86_400))
    .transform((s) => s * 1000);

/** Every variable of the server: how it is read. A test holds `.env.example` and `docs/configuration.md` to this list. */
export const VARIABLES = {
  HOST: text().optional(),
  PORT: int(0, 65_535).default(8000),
  API_KEY: text().default('changeme'),
  KEYLESS_NETWORKS: list().default([]),
  ALLOWED_HOSTS: list().default([]),
  HEALTH_FORMAT: z.enum(['text', 'json']).default('text'),
  UNKNOWN_MODEL: z.enum(['404', 'default']).default('404'),
  LLM_MODEL_PATH: text().optional(),
  LLM_BIN_PATH: text().optional(),
  LLM_WORKERS: int(1, 256).default(1),
  LLM_SLOTS: int(1, 256).default(1),
  LLM_CTX_SIZE: int(64, 16_777_216).default(4096),
  LLM_GPU_LAYERS: int(0, 10_000).optional(),
  LLM_GPUS: list().default([]),
  LLM_THREADS: int(1, 4096).optional(),
  LLM_EXTRA_ARGS: text().default(''),
  QUEUE_LIMIT: int(0, 1_000_000).default(64),
  QUEUE_TIMEOUT_SECS: seconds().default(30_000),
  START_TIMEOUT_SECS: seconds().default(120_000),
  FIRST_TOKEN_TIMEOUT_SECS: seconds().default(60_000),
  TOKEN_TIMEOUT_SECS: seconds().default(15_000),
  MAX_TOKENS: int(1, 16_777_216).default(1024),
  MAX_TOKENS_CAP: int(1, 16_777_216).optional(),
  CACHE_RAM_MB: int(0, 16_777_216).optional(),
  MAX_BODY_BYTES: int(1024, 1_073_741_824).default(1_048_576),
  RATE_LIMIT_QPS: numeric().pipe(z.number().min(0).max(1_000_000)).default(0),
  CORS_ORIGINS: list().default([]),
  TRUST_PROXY: text().default('off'),
  SHUTDOWN_GRACE_SECS: numeric().pipe(z.number().min(0).max(86_400)).default(30),
  LOG_LEVEL: z
    .string()
    .toLowerCase()
    .pipe(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']))
    .default('info'),
} as const;

type Values = { [K in keyof typeof VARIABLES]: z.output<(typeof VARIABLES)[K]> };

export interface LocalModelConfig {
  readonly id: string;
  /** A file, or `hf:org/repo:quant`, which is fetched at the first start. */
  readonly path: string;
  readonly aliases: readonly string[];
  readonly binPath: string | undefined;
  readonly workers: number;
  readonly slots: number;
  /** Context per slot, tokens. */
  readonly ctxSize: number;
  readonly gpuLayers: number | undefined;
  readonly gpus: readonly string[];
  readonly threads: number;
  readonly cacheRamMb: number;
  readonly extraArgs: readonly string[];
}

/** Times are milliseconds. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Empty: no key is asked for. */
  readonly apiKey: string;
  readonly keylessNetworks: readonly string[];
  readonly allowedHosts: readonly string[];
  readonly healthFormat: 'text' | 'json';
  readonly unknownModel: '404' | 'default';
  readonly models: readonly LocalModelConfig[];
  readonly queueLimit: number;
  readonly queueTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly firstTokenTimeoutMs: number;
  readonly tokenTimeoutMs: number;
  readonly maxTokens: number;
  /** undefined: the context of the model. */
  readonly maxTokensCap: number | undefined;
  readonly maxBodyBytes: number;
  readonly rateLimitQps: number;
  readonly corsOrigins: readonly string[];
  readonly trustProxy: boolean | number | string;
  readonly shutdownGraceMs: number;
  readonly logLevel: string;
  /** What the operator should know of how the values came about; logged at the start. */
  readonly notes: readonly string[];
}

export const DEFAULT_KEY = 'changeme';
const DEFAULT_MODEL = 'models/gemma-2b-it-q4_0.gguf';
const DEMO_MODEL = 'models/lmserv-demo.gguf';
const LOOPBACK = ['127.0.0.1', 'localhost', '::1'];

/**
 * Reads the configuration. `overrides` are values given on the command line or by a program, by variable name; they go
 * before the environment, which goes before `.env`.
 *
 * @throws ConfigError naming the variable that is wrong.
 */
export function loadConfig(overrides: Env = {}, env: Env = process.env, folder = process.cwd()): Config {
  const values = readValues({ ...readDotenv(folder), ...env, ...overrides });
  const notes: string[] = [];
  return deepFreeze({
    ...listening(values, notes),
    apiKey: values.API_KEY,
    keylessNetworks: values.KEYLESS_NETWORKS,
    allowedHosts: values.ALLOWED_HOSTS,
    healthFormat: values.HEALTH_FORMAT,
    unknownModel: values.UNKNOWN_MODEL,
    models: [localModel(values, folder, notes)],
    queueLimit: values.QUEUE_LIMIT,
    queueTimeoutMs: values.QUEUE_TIMEOUT_SECS,
    startTimeoutMs: values.START_TIMEOUT_SECS,
    firstTokenTimeoutMs: values.FIRST_TOKEN_TIMEOUT_SECS,
    tokenTimeoutMs: values.TOKEN_TIMEOUT_SECS,
    maxTokens: values.MAX_TOKENS,
    maxTokensCap: values.MAX_TOKENS_CAP,
    maxBodyBytes: values.MAX_BODY_BYTES,
    rateLimitQps: values.RATE_LIMIT_QPS,
    corsOrigins: values.CORS_ORIGINS,
    trustProxy: trustProxy(values.TRUST_PROXY),
    shutdownGraceMs: values.SHUTDOWN_GRACE_SECS * 1000,
    logLevel: values.LOG_LEVEL,
    notes,
  });
}

/** The environment itself, for what hands it on to children. */
export function processEnv(): NodeJS.ProcessEnv {
  return process.env;
}

function readDotenv(folder: string): Env {
  const file = join(folder, '.env');
  return existsSync(file) ? parseDotenv(readFileSync(file)) : {};
}

function readValues(env: Env): Values {
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(VARIABLES)) {
    // An empty line in .env means "not set"; only for API_KEY does empty say something: no key.
    const raw = env[name] === '' && name !== 'API_KEY' ? undefined : env[name];
    const result = schema.safeParse(raw);
    if (!result.success) throw new ConfigError(`${name}: ${result.error.issues[0]!.message}`);
    values[name] = result.data;
  }
  return values as Values;
}

/** The default key is known to everybody: with it nobody but this machine may come in. */
function listening(values: Values, notes: string[]): { host: string; port: number } {
  const { HOST: host, PORT: port, API_KEY: key } = values;
  if (key === '' && host === undefined) {
    throw new ConfigError(
      'HOST: must be set when API_KEY is empty, because everyone who reaches it may use the server',
    );
  }
  if (key !== DEFAULT_KEY) return { host: host ?? '0.0.0.0', port };
  if (host !== undefined && !LOOPBACK.includes(host)) {
    throw new ConfigError(`HOST: only 127.0.0.1 is possible with the default API_KEY; set a key of your own`);
  }
  notes.push(
    'API_KEY is the default one, so only this machine can reach the server; set a key of your own to open it',
  );
  return { host: host ?? '127.0.0.1', port };
}

function localModel(values: Values, folder: string, notes: string[]): LocalModelConfig {
  const path = modelPath(values.LLM_MODEL_PATH, folder, notes);
  const { LLM_WORKERS: workers } = values;
  return {
    id: modelId(path),
    path,
    aliases: ['default', 'fast', 'quality'],
    binPath: values.LLM_BIN_PATH === undefined ? undefined : resolve(folder, values.LLM_BIN_PATH),
    workers,
    slots: values.LLM_SLOTS,
    ctxSize: values.LLM_CTX_SIZE,
    gpuLayers: values.LLM_GPU_LAYERS,
    gpus: values.LLM_GPUS,
    // Workers share the cores; each taking all of them would have them wait for one another.
    threads: values.LLM_THREADS ?? Math.max(1, Math.floor(availableParallelism() / workers)),
    cacheRamMb: Math.floor((values.CACHE_RAM_MB ?? defaultCacheMb()) / workers),
    extraArgs: splitArgs(values.LLM_EXTRA_ARGS),
  };
}

function modelPath(given: string | undefined, folder: string, notes: string[]): string {
  if (given?.startsWith('hf:')) return given;
  if (given !== undefined) {
    const path = resolve(folder, given);
    if (!existsSync(path))
      throw new ConfigError(`LLM_MODEL_PATH: there is no file ${given}; get one with npm run model`);
    return path;
  }
  const standard = join(ROOT, DEFAULT_MODEL);
  if (existsSync(standard)) return standard;
  notes.push(`${DEFAULT_MODEL} is not there: serving the demo model; get a real one with npm run model`);
  return join(ROOT, DEMO_MODEL);
}

/** A model is known by its file name without `.gguf`; one of the hub's by its repository's name. */
export function modelId(path: string): string {
  const name = path.startsWith('hf:') ? path.slice(3).split(':')[0]! : path;
  return name
    .split('/')
    .at(-1)!
    .replace(/\.gguf$/i, '');
}

/** An eighth of the memory that is free now: enough for a few conversations, never a surprise. MiB. */
function defaultCacheMb(): number {
  return Math.min(8192, Math.floor(freemem() / 2 ** 20 / 8));
}

/** Splits arguments at spaces; quotes keep them together. No shell is involved. */
function splitArgs(line: string): string[] {
  const parts = line.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? [];
  return parts.map((part) => part.replace(/^(["'])(.*)\1$/s, '$2'));
}

/** off, on, a number of proxies, or addresses, as Express' `trust proxy` has them. */
function trustProxy(value: string): boolean | number | string {
  if (value === 'off' || value === 'false' || value === '0') return false;
  if (value === 'on' || value === 'true') return true;
  return /^\d+$/.test(value) ? Number(value) : value;
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
