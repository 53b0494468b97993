import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { join, resolve } from 'node:path';
import { parse as parseDotenv } from 'dotenv';
import { z } from 'zod';
import { parseConfigFile, readConfigFileSync, type ConfigFile } from './file/index.js';
import { readTextSync } from '../files/read-text.js';
import { rateSchema } from '../accounts/keys/rate.js';
import { loadProfiles, PROFILE_VARIABLES } from '../dialects/llm-connect/profiles/load.js';
import { Profiles } from '../dialects/llm-connect/profiles/profiles.js';
import { ROOT } from './root.js';
import { UserError } from '../errors.js';

/** The one reader of the environment: env and `.env` in, one frozen Config out. */

/** A bad value stops the start; the message is one line naming the variable. */
export class ConfigError extends UserError {}

type Env = Readonly<Record<string, string | undefined>>;

const text = () => z.string();
/** Clients send anything else in ways of their own, or not at all. */
const key = () => text().regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces');
const list = () =>
  z.string().transform((value) =>
    value
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  );
const networks = () =>
  list().transform((items, context) => {
    const found = new BlockList();
    for (const item of items)
      if (!addNetwork(found, item)) context.addIssue(`${item} is no network such as 192.168.1.0/24`);
    return found;
  });
const origins = () =>
  list().refine((items) => items.every(isOrigin), 'must be * or origins such as https://app.example');
const proxies = () =>
  z.string().transform((value, context) => {
    const parsed = trustProxy(value);
    if (parsed === undefined) context.addIssue('must be on, off, a number of proxies, or their addresses');
    return parsed ?? false;
  });
const args = () =>
  z
    .string()
    .refine((line) => /^(?:"[^"]*"|'[^']*'|[^"'])*$/.test(line), 'has a quote that is not closed')
    .transform(splitArgs);
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
  PORT: int(0, 65_535).optional(),
  API_KEY: key().optional(),
  API_KEYS_FILE: text().optional(),
  KEYLESS_NETWORKS: networks().optional(),
  ALLOWED_HOSTS: list().default([]),
  HEALTH_FORMAT: z.enum(['text', 'json']).default('text'),
  UNKNOWN_MODEL: z.enum(['404', 'default']).default('404'),
  LMSERV_CONFIG: text().optional(),
  LLM_MODEL_PATH: text().optional(),
  LLM_BIN_PATH: text().optional(),
  LLM_WORKERS: int(1, 256).default(1),
  LLM_SLOTS: z.preprocess((value) => (value === 'auto' ? undefined : value), int(1, 256).optional()),
  LLM_CTX_SIZE: int(64, 16_777_216).default(4096),
  LLM_GPU_LAYERS: int(0, 10_000).optional(),
  LLM_GPUS: list().default([]),
  LLM_THREADS: int(1, 4096).optional(),
  LLM_EXTRA_ARGS: args().default([]),
  QUEUE_LIMIT: int(0, 1_000_000).default(64),
  QUEUE_TIMEOUT_SECS: seconds().default(30_000),
  START_TIMEOUT_SECS: seconds().default(120_000),
  FIRST_TOKEN_TIMEOUT_SECS: seconds().default(60_000),
  TOKEN_TIMEOUT_SECS: seconds().default(15_000),
  REPLY_RESUME: z.enum(['on', 'off']).default('on'),
  RESUME_TIMEOUT_SECS: seconds().default(30_000),
  WORKER_MAX_REQUESTS: int(1, 2_147_483_647).optional(),
  WORKER_MAX_AGE_SECS: numeric().pipe(z.number().min(1).max(31_536_000)).optional(),
  WORKER_MAX_MEMORY_MB: int(1, 16_777_216).optional(),
  MAX_TOKENS: int(1, 16_777_216).default(1024),
  MAX_TOKENS_CAP: int(1, 16_777_216).optional(),
  CACHE_RAM_MB: int(0, 16_777_216).optional(),
  PROMPT_CACHE: z.enum(['on', 'off']).default('on'),
  SPECIAL_TOKENS: z.enum(['allow', 'reject']).default('allow'),
  MAX_BODY_BYTES: int(1024, 1_073_741_824).default(1_048_576),
  RATE_LIMIT_QPS: numeric().pipe(rateSchema).default(0),
  CORS_ORIGINS: origins().default([]),
  TRUST_PROXY: proxies().default(false),
  SHUTDOWN_GRACE_SECS: numeric().pipe(z.number().min(0).max(86_400)).default(30),
  DATA_DIR: text().default('data'),
  LLM_CONNECT_HOST: text().optional(),
  LLM_CONNECT_PORT: int(0, 65_535).optional(),
  LLM_CONNECT_PROVIDER: text().default('local'),
  LLM_CONNECT_MODEL: text().optional(),
  LOG_LEVEL: z
    .string()
    .toLowerCase()
    .pipe(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']))
    .default('info'),
} as const;

type Values = { [K in keyof typeof VARIABLES]: z.output<(typeof VARIABLES)[K]> };

/** Times are milliseconds. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Empty: no key of API_KEY. */
  readonly apiKey: string;
  /** No key is asked for at all. */
  readonly open: boolean;
  readonly keysFile: string | undefined;
  /** Networks whose clients need no key. */
  readonly keyless: BlockList;
  readonly allowedHosts: readonly string[];
  readonly healthFormat: 'text' | 'json';
  readonly unknownModel: '404' | 'default';
  /** Whether a client's text may hold control tokens of the model. */
  readonly specialTokens: 'allow' | 'reject';
  /** Models, remote servers, groups and budgets: of the configuration file, or made of the LLM_ variables. */
  readonly file: ConfigFile;
  /** Where `file` was read from, with its text; undefined when it was made of variables. */
  readonly fileSource: { readonly path: string; readonly text: string } | undefined;
  /** Used for models that name no binary of their own. */
  readonly binPath: string | undefined;
  /** Whose model serves requests that name none: `local`, `mock`, or a provider of the configuration file. */
  readonly provider: string;
  /** The model or group that serves requests that name none; undefined leaves it to the file. */
  readonly defaultModel: string | undefined;
  readonly profiles: Profiles;
  readonly strictProfiles: boolean;
  /** Folder of the usage table. */
  readonly dataDir: string;
  readonly queueLimit: number;
  readonly queueTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly firstTokenTimeoutMs: number;
  readonly tokenTimeoutMs: number;
  /** A reply whose worker fails goes on with another one. */
  readonly replyResume: boolean;
  readonly resumeTimeoutMs: number;
  /** When workers are replaced although nothing is wrong with them. */
  readonly recycling: {
    readonly requests: number | undefined;
    readonly ageMs: number | undefined;
    readonly memoryBytes: number | undefined;
  };
  readonly maxTokens: number;
  /** undefined: the context of the model. */
  readonly maxTokensCap: number | undefined;
  /** Workers keep what they have evaluated of prompts, for whoever's next prompt begins like it. */
  readonly promptCache: boolean;
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
/** What HOST may be with the default key. */
export const LOOPBACK = ['127.0.0.1', 'localhost', '::1'];

export interface LoadOptions {
  readonly disableProfiles?: boolean | undefined;
  readonly strictProfiles?: boolean | undefined;
  readonly env?: Env;
  /** Where `.env` and relative paths are looked for. */
  readonly folder?: string;
}

/**
 * Reads the configuration. `overrides` are values given on the command line or by a program, by variable name; they go
 * before the environment, which goes before `.env`.
 *
 * @throws ConfigError, ConfigFileError or ProfileError naming the variable or the field that is wrong.
 */
export function loadConfig(overrides: Env = {}, options: LoadOptions = {}): Config {
  const { env = process.env, folder = process.cwd() } = options;
  const all = { ...readDotenv(folder), ...env, ...given(overrides) };
  const values = readValues(all);
  const notes: string[] = [];
  return deepFreeze({
    ...access(values, folder, notes),
    keyless: values.KEYLESS_NETWORKS ?? new BlockList(),
    allowedHosts: values.ALLOWED_HOSTS,
    healthFormat: values.HEALTH_FORMAT,
    unknownModel: values.UNKNOWN_MODEL,
    specialTokens: values.SPECIAL_TOKENS,
    ...models(values, folder, notes),
    binPath: values.LLM_BIN_PATH === undefined ? undefined : resolve(folder, values.LLM_BIN_PATH),
    provider: values.LLM_CONNECT_PROVIDER,
    defaultModel: values.LLM_CONNECT_MODEL,
    profiles: options.disableProfiles === true ? Profiles.none : profiles(all, folder),
    strictProfiles: options.strictProfiles === true,
    queueLimit: values.QUEUE_LIMIT,
    queueTimeoutMs: values.QUEUE_TIMEOUT_SECS,
    startTimeoutMs: values.START_TIMEOUT_SECS,
    firstTokenTimeoutMs: values.FIRST_TOKEN_TIMEOUT_SECS,
    tokenTimeoutMs: values.TOKEN_TIMEOUT_SECS,
    replyResume: values.REPLY_RESUME === 'on',
    resumeTimeoutMs: values.RESUME_TIMEOUT_SECS,
    recycling: {
      requests: values.WORKER_MAX_REQUESTS,
      ageMs: scaled(values.WORKER_MAX_AGE_SECS, 1000),
      memoryBytes: scaled(values.WORKER_MAX_MEMORY_MB, 2 ** 20),
    },
    maxTokens: values.MAX_TOKENS,
    maxTokensCap: values.MAX_TOKENS_CAP,
    promptCache: values.PROMPT_CACHE === 'on',
    maxBodyBytes: values.MAX_BODY_BYTES,
    rateLimitQps: values.RATE_LIMIT_QPS,
    corsOrigins: values.CORS_ORIGINS,
    trustProxy: values.TRUST_PROXY,
    shutdownGraceMs: values.SHUTDOWN_GRACE_SECS * 1000,
    dataDir: resolve(folder, values.DATA_DIR),
    logLevel: values.LOG_LEVEL,
    notes,
  });
}

function scaled(value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : value * factor;
}

/** The key file alone, for the commands that manage it. @throws ConfigError when none is set. */
export function keysFilePath(env: Env = process.env, folder = process.cwd()): string {
  const file = { ...readDotenv(folder), ...env }.API_KEYS_FILE;
  if (!file)
    throw new ConfigError(
      'API_KEYS_FILE: is not set; it names the file that keys are kept in, such as keys.json',
    );
  return resolve(folder, file);
}

/** The environment with what `.env` adds, for variables that the configuration names and for what children inherit. */
export function processEnv(folder = process.cwd()): NodeJS.ProcessEnv {
  return { ...readDotenv(folder), ...process.env };
}

/** What systemd tells a service that it starts: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). */
export interface ServiceEnv {
  /** Where it takes messages; undefined without a service manager. */
  readonly notifySocket: string | undefined;
  /** Silence after which it kills the service, milliseconds. */
  readonly watchdogMs: number | undefined;
  /** Descriptor of the listening socket that it hands over. */
  readonly listenFd: number | undefined;
}

/** The first descriptor that is handed over. */
const FIRST_LISTEN_FD = 3;

/**
 * Reads what the service manager says to the process `pid`; what was meant for another one is passed over.
 *
 * @throws ConfigError when more than one socket is handed over.
 */
export function serviceEnv(env: Env = process.env, pid = process.pid): ServiceEnv {
  const forUs = (name: string) => env[name] === String(pid);
  const watched = env.WATCHDOG_PID === undefined || forUs('WATCHDOG_PID');
  const watchdogMs = watched ? Number(env.WATCHDOG_USEC) / 1000 : NaN;
  const sockets = forUs('LISTEN_PID') ? Number(env.LISTEN_FDS) : 0;
  if (sockets > 1) throw new ConfigError('LISTEN_FDS: one socket can be handed over, not more');
  return {
    notifySocket: env.NOTIFY_SOCKET || undefined,
    watchdogMs: watchdogMs > 0 ? watchdogMs : undefined,
    listenFd: sockets === 1 ? FIRST_LISTEN_FD : undefined,
  };
}

function readDotenv(folder: string): Env {
  try {
    return parseDotenv(readTextSync(join(folder, '.env')).text);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return {};
    throw new ConfigError(`.env: cannot be read (${code})`);
  }
}

function given(env: Env): Env {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
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

type Access = Pick<Config, 'host' | 'port' | 'apiKey' | 'open' | 'keysFile'>;

/** The default key is known to everybody: with it nobody but this machine may come in. */
function access(values: Values, folder: string, notes: string[]): Access {
  const port = values.PORT ?? values.LLM_CONNECT_PORT ?? 8000;
  const host = values.HOST ?? values.LLM_CONNECT_HOST;
  const keysFile = values.API_KEYS_FILE === undefined ? undefined : resolve(folder, values.API_KEYS_FILE);
  // Where there are keys of one's own, the one that everybody knows is none.
  const standard = keysFile === undefined ? DEFAULT_KEY : '';
  const apiKey = values.API_KEY === DEFAULT_KEY ? standard : (values.API_KEY ?? standard);
  const open = apiKey === '' && keysFile === undefined;
  if (open && host === undefined) {
    throw new ConfigError(
      'HOST: must be set when API_KEY is empty, because everyone who reaches it may use the server',
    );
  }
  if (apiKey !== DEFAULT_KEY) return { host: host ?? '0.0.0.0', port, apiKey, open, keysFile };
  if (host !== undefined && !LOOPBACK.includes(host)) {
    throw new ConfigError(`HOST: only 127.0.0.1 is possible with the default API_KEY; set a key of your own`);
  }
  notes.push(
    'API_KEY is the default one, so only this machine can reach the server; set a key of your own to open it',
  );
  return { host: host ?? '127.0.0.1', port, apiKey, open, keysFile };
}

const DEFAULT_CONFIG_FILE = 'lmserv.config.json';

type Models = Pick<Config, 'file' | 'fileSource'>;

/** The configuration file where there is one, else one local model made of the LLM_ variables. */
function models(values: Values, folder: string, notes: string[]): Models {
  const path = resolve(folder, values.LMSERV_CONFIG ?? DEFAULT_CONFIG_FILE);
  if (existsSync(path)) {
    const { text } = readConfigFileSync(path);
    return { file: parseConfigFile(text, path), fileSource: { path, text } };
  }
  if (values.LMSERV_CONFIG !== undefined)
    throw new ConfigError(`LMSERV_CONFIG: there is no file ${values.LMSERV_CONFIG}`);
  // `mock` answers without any model; what is not needed is not started.
  const local = values.LLM_CONNECT_PROVIDER === 'mock' ? {} : localModel(values, folder, notes);
  const file = { models: local, remotes: {}, groups: {}, tenants: {} };
  return { file, fileSource: undefined };
}

function localModel(values: Values, folder: string, notes: string[]): ConfigFile['models'] {
  const path = modelPath(values.LLM_MODEL_PATH, folder, notes);
  const model = {
    path,
    aliases: [],
    workers: values.LLM_WORKERS,
    slots: values.LLM_SLOTS,
    context: values.LLM_CTX_SIZE,
    gpuLayers: values.LLM_GPU_LAYERS,
    gpus: values.LLM_GPUS,
    threads: values.LLM_THREADS,
    cacheRamMb: values.CACHE_RAM_MB,
    extraArgs: values.LLM_EXTRA_ARGS,
  };
  return { [modelId(path)]: model };
}

function profiles(env: Env, folder: string): Profiles {
  const known = Object.fromEntries(PROFILE_VARIABLES.map((name) => [name, env[name]]));
  return loadProfiles(known, (path) => readTextSync(resolve(folder, path)).text);
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

/**
 * Threads of each worker of a model; by default the cores are shared out among all `workers` of the server, or they
 * would wait for one another.
 */
export function threadsOf(model: { readonly threads?: number | undefined }, workers: number): number {
  return model.threads ?? Math.max(1, Math.floor(availableParallelism() / workers));
}

/** Sequences that a GPU decodes together hardly slower than one. */
const GPU_SLOTS = 4;

/** On a CPU they share its cores, and two let a second caller begin without waiting. */
const CPU_SLOTS = 2;

interface SlotSettings {
  readonly slots?: number | undefined;
  readonly threads?: number | undefined;
  readonly gpuLayers?: number | undefined;
  readonly gpus: readonly string[];
}

/**
 * Slots of each worker of a model. By default as many as pay: more on a GPU; on a CPU two, or one where a worker has
 * only one thread to share.
 *
 * @param binPath the llama.cpp that runs it: `npm run setup` keeps builds for a GPU in a folder of their own.
 */
export function slotsOf(model: SlotSettings, workers: number, binPath: string | undefined): number {
  if (model.slots !== undefined) return model.slots;
  const gpuBuild = /build-(?:cuda|vulkan|metal)\b/.test(binPath ?? '') && model.gpuLayers !== 0;
  if (gpuBuild || (model.gpuLayers ?? 0) > 0 || model.gpus.length > 0) return GPU_SLOTS;
  return threadsOf(model, workers) > 1 ? CPU_SLOTS : 1;
}

/** A model is known by its file name without `.gguf`; one of the hub's by its repository's name. */
export function modelId(path: string): string {
  const name = path.startsWith('hf:') ? path.slice(3).split(':')[0]! : path;
  return name
    .split('/')
    .at(-1)!
    .replace(/\.gguf$/i, '');
}

/** Splits arguments at spaces; quotes keep them together. No shell is involved. */
function splitArgs(line: string): string[] {
  const parts = line.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? [];
  return parts.map((part) => part.replace(/^(["'])(.*)\1$/s, '$2'));
}

/** Adds `address` or `address/bits`; false when it is neither. */
function addNetwork(list: BlockList, text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const longest = family === 'ipv6' ? 128 : 32;
  const prefix = bits === undefined ? longest : /^\d+$/.test(bits) ? Number(bits) : NaN;
  if (isIP(address) === 0 || rest.length > 0 || !(prefix >= 0 && prefix <= longest)) return false;
  list.addSubnet(address, prefix, family);
  return true;
}

function isOrigin(text: string): boolean {
  return text === '*' || (URL.canParse(text) && new URL(text).origin === text);
}

/** off, on, a number of proxies, or addresses, as Express' `trust proxy` has them; undefined for anything else. */
function trustProxy(value: string): boolean | number | string | undefined {
  if (['off', 'false', '0'].includes(value)) return false;
  if (['on', 'true'].includes(value)) return true;
  if (/^\d+$/.test(value)) return Number(value);
  const known = ['loopback', 'linklocal', 'uniquelocal'];
  const parts = value.split(',').map((part) => part.trim());
  return parts.every((part) => known.includes(part) || addNetwork(new BlockList(), part)) ? value : undefined;
}

function deepFreeze<T>(value: T): T {
  // A class guards its own fields; only plain data is frozen.
  const guarded = value instanceof Profiles || value instanceof BlockList;
  const plain = value !== null && typeof value === 'object' && !guarded;
  if (plain && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
