/**
 * Every variable of the server, one row each: its name in Config, how it is read, and its description. Types,
 * `.env.example`, the tables of `docs/configuration.md` and `lmserv.schema.json` are generated from these rows.
 */

import { z } from 'zod';
import { rateSchema } from '../accounts/keys/rate.js';
import { profilesJson, triageFields } from '../dialects/llm-connect/profiles/profile.js';
import { int, list, oneOf, seconds, secondsFrom } from './fields.js';
import { invalidNetworks, isHost, isOrigin, parseTrustProxy, toBlockList } from './networks.js';

export type Env = Readonly<Record<string, string | undefined>>;

/** Converts a variable's text for its schema. Text that is not a number is kept, for the schema to reject. */
type Reader = z.ZodType<unknown, string>;
const text = z.string();
const toNumber = (value: string) => (/^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value);
const number = text.transform(toNumber);
const numberOrAuto = text.transform((value) => (value === 'auto' ? undefined : toNumber(value)));
const items = text.transform((value) =>
  value
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean),
);
/** Arguments separated by spaces; quotes keep one with spaces together. No shell is involved. */
const args = text
  .regex(/^(?:"[^"]*"|'[^']*'|[^"'])*$/, 'has an unclosed quote')
  .transform((line) => line.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? [])
  .transform((parts) => parts.map((part) => part.replace(/^(["'])(.*)\1$/s, '$2')));

/** The documentation of a variable. */
export interface Notes {
  /** One sentence, in Markdown. */
  readonly doc?: string;
  /** Follows `doc` on the docs page. */
  readonly more?: string;
  /** The default in words, if the schema has none. */
  readonly byDefault?: string;
  /** An example for `.env.example`, if neither gives a value. */
  readonly sample?: string | number;
}

export interface Row<K extends string = string, S extends z.ZodType = z.ZodType> extends Notes {
  /** The path in Config, with dots. */
  readonly key: K;
  readonly read: Reader;
  /** The schema of the value, with its default; converts times to milliseconds and memory to bytes. */
  readonly schema: S;
}

function row<const K extends string, S extends z.ZodType>(
  key: K,
  read: Reader,
  schema: S,
  notes: Notes = {},
): Row<K, S> {
  return { key, read, schema, ...notes };
}

/** Clients encode other characters in different ways or cannot send them. */
const keyText = text.regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces');
const toMs = (secs: number) => secs * 1000;
const duration = seconds.transform(toMs);
const period = (min: number, max: number) => secondsFrom(min, max).transform(toMs);
const onOff = oneOf('on', 'off').transform((value) => value === 'on');
const textItem = z.string('must be a text');
const gpu = textItem.regex(/^[\w:./-]+$/, 'must be the id of a GPU such as "0"');
const toBytes = (mib: number) => mib * 2 ** 20;
const mebibytes = int(1, 16_777_216).transform(toBytes);
const allowance = int(0, 16_777_216).transform(toBytes);
const logLevel = text.toLowerCase().pipe(oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'));
const tokens = int(1, 16_777_216);

const networks = z.array(text).transform((parts, context) => {
  for (const part of invalidNetworks(parts))
    context.addIssue(`${JSON.stringify(part)} is not a valid network (expected e.g. 192.168.1.0/24)`);
  return toBlockList(parts);
});
const origins = z
  .array(text)
  .refine((parts) => parts.every(isOrigin), 'must be * or origins such as https://app.example or app://name');
const hosts = z
  .array(text)
  .refine((parts) => parts.every(isHost), 'must be names such as llm.example or *.example, without a port');
const proxies = text.transform((value, context) => {
  const proxy = parseTrustProxy(value);
  if (proxy === undefined) context.addIssue('must be on, off, a number of proxies, or their addresses');
  return proxy ?? false;
});

const ACCESS = {
  HOST: row('host', text, text.optional(), {
    doc: 'Address to listen on.',
    more: "With the default key only this machine's own addresses are accepted.",
    byDefault: '127.0.0.1 with the default key, else 0.0.0.0',
    sample: '0.0.0.0',
  }),
  PORT: row('port', number, int(0, 65_535).optional(), {
    doc: 'Port; 0 chooses a free one and prints it.',
    byDefault: '8000',
  }),
  API_KEY: row('apiKey', text, keyText.optional(), {
    doc: 'The key, sent as `X-API-Key` or `Authorization: Bearer`; printable ASCII without spaces.',
    more: 'Empty disables keys; HOST must then be set.',
    byDefault: 'changeme',
  }),
  API_KEYS_FILE: row('keysFile', text, text.optional(), {
    doc: 'File with additional keys, each with its own tenants, limits and budgets.',
    more: 'See [keys.md](keys.md). It disables the key `changeme`. Reloaded when it changes.',
    sample: 'keys.json',
  }),
  KEYLESS_NETWORKS: row('keyless', items, networks.prefault([]), {
    doc: 'Networks whose clients need no key, such as `192.168.1.0/24,10.0.0.7`.',
    more: 'They may use and read any tenant; behind a proxy see [security.md](security.md#tls-in-front).',
    sample: '192.168.1.0/24',
  }),
  ALLOWED_HOSTS: row('allowedHosts', items, hosts.default([]), {
    doc: 'Additional names accepted in the Host header, such as `llm.example.lan` or `*.ts.net`; others get 421, and `*` accepts any.',
    more: "`localhost`, this machine's name (also with `.local` and `.lan`, and its full name), `host.docker.internal` and its like, HOST and all IP addresses are always accepted.",
    sample: 'llm.example.lan',
  }),
  CORS_ORIGINS: row('corsOrigins', items, origins.default([]), {
    doc: 'Origins of web pages and apps that may call the server, such as `https://*.example.lan` or `app://obsidian.md`; `*` is any.',
    sample: 'https://app.example.lan',
  }),
  TRUST_PROXY: row('trustProxy', text, proxies.prefault('off'), {
    doc: 'Proxies whose X-Forwarded-For is trusted: `on`, `off`, a number of proxies, or their addresses.',
    more: '`on` trusts its first address, which clients can choose unless the proxy replaces it.',
  }),
};

/** Variables of the only model if there is no configuration file. `model.` keys are fields of `models.NAME` in the file. */
const MODEL = {
  LMSERV_CONFIG: row('configFile', text, text.optional(), {
    doc: 'The configuration file: [models-and-groups.md](models-and-groups.md).',
    more: 'Reloaded when it changes and on SIGHUP without a terminal.',
    byDefault: 'lmserv.config.json, if it exists',
    sample: 'lmserv.config.json',
  }),
  LLM_MODEL_PATH: row('modelPath', text, text.optional(), {
    doc: 'A GGUF file, or `hf:org/repo:quant`, which is fetched at the first start.',
    more: 'If it is not set and the default does not exist, the demo model is served.',
    byDefault: 'models/gemma-2b-it-q4_0.gguf',
  }),
  LLM_MODELS_DIR: row('modelsDir', text, text.optional(), {
    doc: 'A folder whose GGUF files are served by their names, as those of `models/` are; `off` serves only configured models.',
    more: 'See [models.md](models.md#the-folders).',
    byDefault: 'models/ alone',
    sample: '/srv/models',
  }),
  LLM_TASK: row('model.task', text, oneOf('chat', 'embed', 'rerank').optional(), {
    doc: 'What the model is for: `chat`, `embed` or `rerank`; by default its file decides.',
    more: 'See [api-embeddings.md](api-embeddings.md#models).',
    byDefault: "the file's",
    sample: 'embed',
  }),
  LLM_BIN_PATH: row('binPath', text, text.optional(), {
    doc: '`llama-cli` or `llama-server`.',
    more: 'If it is not set: `build-cuda`, `build-vulkan`, `build-metal`, `build`, then PATH.',
    byDefault: 'vendor/llama.cpp/build-cuda/bin/llama-cli',
  }),
  LLM_WORKERS: row('model.workers', number, int(1, 256).default(1), {
    doc: 'Persistent worker processes.',
  }),
  LLM_SLOTS: row('model.slots', numberOrAuto, int(1, 256).optional(), {
    doc: 'Sequences that each worker decodes together; by default 4 on a GPU, 2 on a CPU, 1 if a worker has one thread.',
    more: 'Capacity is workers times slots; see [scaling.md](scaling.md).',
    byDefault: 'auto',
  }),
  LLM_CTX_SIZE: row('model.context', number, int(64, 16_777_216).default(4096), {
    doc: 'Context of each slot, tokens.',
  }),
  LLM_GPU_LAYERS: row('model.gpuLayers', number, int(0, 10_000).optional(), {
    doc: 'Layers on the GPU; llama.cpp chooses by default.',
    byDefault: "llama.cpp's own",
    sample: 99,
  }),
  LLM_GPUS: row('model.gpus', items, list(gpu).default([]), {
    doc: 'Ids of GPUs, assigned to the workers in turn.',
    sample: '0,1',
  }),
  LLM_THREADS: row('model.threads', number, int(1, 4096).optional(), {
    doc: 'Threads of each worker; by default the cores are divided among all workers.',
    byDefault: 'cores / workers',
    sample: 4,
  }),
  LLM_EXTRA_ARGS: row('model.extraArgs', args, list(textItem).default([]), {
    doc: 'Additional arguments of llama.cpp; they come last and take precedence.',
    more: 'Quote an argument that contains spaces. Every user of the machine can read them, so do not put a key here.',
    sample: '-fa on',
  }),
  CACHE_RAM_MB: row('model.cacheRamMb', number, int(0, 16_777_216).optional(), {
    doc: 'Prompt cache of llama.cpp over all workers of the model, MiB; 0 disables it.',
    more: 'Each slot still keeps its last prompt.',
    byDefault: 'an eighth of the free memory or of LLM_MEMORY_MB, at most 8192',
    sample: 1024,
  }),
  PROMPT_CACHE: row('promptCache', text, onOff.prefault('on'), {
    doc: "`off` evaluates each prompt whole, so that the speed of a reply reveals nothing about other callers' prompts.",
    more: "A conversation's next turn then takes as long as its first; see [security.md](security.md).",
  }),
  SLOT_SAVE_MB: row('slotSaveBytes', number, allowance.prefault(0), {
    doc: 'Disk space for what workers have evaluated, MiB: a conversation then goes on after its worker, model or server was ended; 0 saves nothing.',
    more: 'It needs a llama-server in LLM_BIN_PATH and writes prompts in clear text to DATA_DIR; see [reliability.md](reliability.md#saved-slots).',
    sample: 4096,
  }),
  SLOT_SAVE_SECS: row('slotSaveMs', number, period(1, 31_536_000).prefault(86_400), {
    doc: 'Time after which what was saved is erased.',
  }),
  MESSAGE_SHAPING: row('messageShaping', text, oneOf('auto', 'off').default('auto'), {
    doc: "`auto` adapts conversations to what a local model's chat template accepts; `off` passes them on unchanged.",
    more: 'See [models.md](models.md#chat-templates).',
  }),
  LLM_MEMORY_MB: row('memoryBytes', number, allowance.prefault(0), {
    doc: 'Memory that all models may hold together, MiB; 0 takes what the machine has, main memory and GPUs apart.',
    more: 'See [scaling.md](scaling.md#many-models).',
    sample: 16_384,
  }),
  MODEL_IDLE_SECS: row('modelIdleMs', number, period(0, 31_536_000).prefault(600), {
    doc: 'Time after which a model that nobody uses is unloaded; 0 is never.',
    more: 'The default model and pinned ones stay.',
  }),
  UNKNOWN_MODEL: row('unknownModel', text, oneOf('404', 'default').default('404'), {
    doc: '`default` serves requests for an unknown model with the default model.',
  }),
};

const LIMITS = {
  MAX_TOKENS: row('maxTokens', number, tokens.optional(), {
    doc: "Max tokens to generate if a request to OpenAI's routes or `/complete` does not set a limit.",
    byDefault: 'the context',
    sample: 1024,
  }),
  MAX_TOKENS_CAP: row('maxTokensCap', number, tokens.optional(), {
    doc: 'Requests for more tokens are lowered to this.',
    byDefault: 'the context',
    sample: 4096,
  }),
  MAX_BODY_BYTES: row('maxBodyBytes', number, int(1024, 1_073_741_824).default(1_048_576), {
    doc: 'A body that is larger without its images gets 413.',
    more: 'A worker takes a second or more to read a mebibyte of text, even if it then refuses it.',
  }),
  MAX_IMAGE_BODY_BYTES: row('maxImageBodyBytes', number, int(1024, 1_073_741_824).default(33_554_432), {
    doc: 'A body with images gets 413 above this, where a model takes images; a remote one may.',
    more: 'All bodies in progress share 64 MiB, or twice the larger limit if that is more.',
  }),
  SPECIAL_TOKENS: row('specialTokens', text, oneOf('allow', 'reject').default('allow'), {
    doc: '`reject` refuses client text that contains control tokens of a local model with 400.',
    more: 'See [models.md](models.md#control-tokens-in-a-clients-text).',
  }),
  RATE_LIMIT_QPS: row('rateLimitQps', number, rateSchema.default(0), {
    doc: 'Requests per second and key, at least 0.00001; further ones get 429, and 0 disables the limit.',
    more: '0.1 is one request in ten seconds.',
  }),
  QUEUE_LIMIT: row('queueLimit', number, int(0, 1_000_000).default(64), {
    doc: 'Max requests that wait for a slot; beyond that, requests of the caller with the most get 503.',
  }),
  QUEUE_TIMEOUT_SECS: row('queueTimeoutMs', number, duration.prefault(30), {
    doc: 'Max wait for a slot; then the request gets 503.',
  }),
  START_TIMEOUT_SECS: row('timeouts.startMs', number, duration.prefault(120), {
    doc: 'Max silence of a starting worker; any log line counts as progress.',
  }),
  FIRST_TOKEN_TIMEOUT_SECS: row('timeouts.firstTokenMs', number, duration.prefault(60), {
    doc: 'Max time without progress before the first token; each evaluated batch of the prompt is progress.',
  }),
  TOKEN_TIMEOUT_SECS: row('timeouts.tokenMs', number, duration.prefault(15), {
    doc: 'Max time without a token after the first one; tokens of any slot of the worker count.',
  }),
  WORKER_MAX_REQUESTS: row('recycling.requests', number, int(1, 2_147_483_647).optional(), {
    doc: 'Requests after which a worker is replaced by a fresh one, without failing any request.',
    more: 'See [reliability.md](reliability.md).',
    sample: 10_000,
  }),
  WORKER_MAX_AGE_SECS: row('recycling.ageMs', number, period(1, 31_536_000).optional(), {
    doc: 'Age at which a worker is replaced.',
    sample: 86_400,
  }),
  WORKER_MAX_MEMORY_MB: row('recycling.memoryBytes', number, mebibytes.optional(), {
    doc: 'Private memory at which a worker is replaced, MiB; Linux only.',
    more: 'This counts anonymous pages and swap, not the mapped weights.',
    sample: 8192,
  }),
  REPLY_RESUME: row('replyResume', text, onOff.prefault('on'), {
    doc: 'A reply whose worker dies or hangs is resumed on another one, invisibly to its client; with `off` the reply breaks.',
    more: 'See [reliability.md](reliability.md).',
  }),
  RESUME_TIMEOUT_SECS: row('resumeTimeoutMs', number, duration.prefault(30), {
    doc: 'Max wait of such a reply for another worker, ahead of the queue.',
  }),
  SHUTDOWN_GRACE_SECS: row('shutdownGraceMs', number, period(0, 86_400).prefault(30), {
    doc: 'Time for open replies to finish after SIGTERM.',
  }),
};

const OUTPUT = {
  DATA_DIR: row('dataDir', text, text.default('data'), {
    doc: 'Folder of the usage table and of saved slots.',
  }),
  LOG_LEVEL: row('logLevel', text, logLevel.prefault('INFO'), {
    doc: 'TRACE, DEBUG, INFO, WARN, ERROR, FATAL or SILENT.',
    more: 'JSON on stdout, readable lines on a terminal.',
  }),
  HEALTH_FORMAT: row('healthFormat', text, oneOf('text', 'json').default('text'), {
    doc: '`json` makes `/health` return JSON to every client, as clients of Konstruct, llm-connect and AWA expect.',
  }),
};

const LLM_CONNECT = {
  LLM_CONNECT_HOST: row('connectHost', text, text.optional(), {
    doc: 'Used if HOST is not set.',
    sample: '127.0.0.1',
  }),
  LLM_CONNECT_PORT: row('connectPort', number, int(0, 65_535).optional(), {
    doc: 'Used if PORT is not set.',
    sample: 8000,
  }),
  LLM_CONNECT_PROVIDER: row('provider', text, text.default('local'), {
    doc: 'Provider for requests that name no model: `local`, `mock`, or a provider of the configuration file.',
  }),
  LLM_CONNECT_MODEL: row('defaultModel', text, text.optional(), {
    doc: 'Model or group for requests that name no model.',
    sample: 'default',
  }),
};

/** dialects/llm-connect defines their meaning. */
const PROFILES = {
  LLM_CONNECT_PROFILES_JSON: row('profilesJson', text, profilesJson.optional(), {
    doc: 'Profiles by name, as JSON.',
    sample: '{}',
  }),
  LLM_CONNECT_PROFILE_FILE: row('profileFile', text, text.optional(), {
    doc: 'A file with such profiles.',
    sample: 'profiles.json',
  }),
  LLM_CONNECT_CUSTODIAN_TRIAGE_PROVIDER: row('triage.provider', text, triageFields.provider, {
    doc: 'These replace individual values of the built-in profile `custodian-triage-balanced`.',
  }),
  LLM_CONNECT_CUSTODIAN_TRIAGE_MODEL: row('triage.model', text, triageFields.model),
  LLM_CONNECT_CUSTODIAN_TRIAGE_TEMPERATURE: row('triage.temperature', number, triageFields.temperature),
  LLM_CONNECT_CUSTODIAN_TRIAGE_MAX_TOKENS: row('triage.max_tokens', number, triageFields.max_tokens),
  LLM_CONNECT_CUSTODIAN_TRIAGE_MAX_DEPTH: row('triage.max_depth', number, triageFields.max_depth),
  LLM_CONNECT_CUSTODIAN_TRIAGE_TIMEOUT_SECONDS: row(
    'triage.timeout_seconds',
    number,
    triageFields.timeout_seconds,
  ),
  LLM_CONNECT_CUSTODIAN_TRIAGE_REASONING_EFFORT: row(
    'triage.reasoning_effort',
    text,
    triageFields.reasoning_effort,
  ),
};

/** Variables by section of `docs/configuration.md`. */
export const SECTIONS = {
  access: ACCESS,
  model: MODEL,
  limits: LIMITS,
  output: OUTPUT,
  'llm-connect': { ...LLM_CONNECT, ...PROFILES },
};

const VARIABLES = { ...ACCESS, ...MODEL, ...LIMITS, ...OUTPUT, ...LLM_CONNECT, ...PROFILES };

type Rows = typeof VARIABLES;
type Flat = { readonly [V in keyof Rows as Rows[V]['key']]: z.output<Rows[V]['schema']> };
type Part<P extends string> = {
  readonly [K in keyof Flat as K extends `${P}.${infer F}` ? F : never]: Flat[K];
};
type PartName<K> = K extends `${infer P}.${string}` ? P : never;

/** All values by key. Times are milliseconds, memory is bytes. */
export type Settings = {
  readonly [K in keyof Flat as K extends `${string}.${string}` ? never : K]: Flat[K];
} & {
  readonly [P in PartName<keyof Flat>]: Part<P>;
};

/** A problem with a variable or a file. */
export interface Problem {
  /** Its name. */
  readonly variable: string;
  /** The problem and what to do about it, without the name. */
  readonly message: string;
}

/** Reads all variables, without the white space around them. Invalid ones get their default. */
export function readVariables(env: Env): { settings: Settings; problems: Problem[] } {
  const settings: Record<string, unknown> = {};
  const problems: Problem[] = [];
  for (const [variable, { key, read, schema }] of Object.entries<Row>(VARIABLES)) {
    const value = readValue(variable, env[variable]);
    const result = value === undefined ? schema.safeParse(value) : read.pipe(schema).safeParse(value);
    assign(settings, key, result.success ? result.data : schema.parse(undefined));
    if (!result.success)
      problems.push(...describeIssues(result.error).map((message) => ({ variable, message })));
  }
  return { settings: settings as Settings, problems };
}

/** Empty counts as not set, except for API_KEY, which white space alone does not switch off. */
function readValue(variable: string, given: string | undefined): string | undefined {
  const value = given?.trim();
  return variable === 'API_KEY' ? value || given : value || undefined;
}

/** The messages of a schema's error, each with its path in the value. */
export function describeIssues({ issues }: z.ZodError): string[] {
  return issues.map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message));
}

function assign(settings: Record<string, unknown>, key: string, value: unknown): void {
  const [part, field] = key.split('.') as [string, string?];
  if (field === undefined) settings[part] = value;
  else settings[part] = { ...(settings[part] as object), [field]: value };
}

/** Whether a variable belongs to the profiles of llm-connect. */
export function isProfileVariable(variable: string): boolean {
  return variable in PROFILES;
}

type ModelRows = {
  [V in keyof Rows as Rows[V]['key'] extends `model.${infer F}` ? F : never]: Rows[V]['schema'];
};

/** The fields of a model in the configuration file that are also variables. */
export const modelFields = Object.fromEntries(
  Object.values<Row>(MODEL).flatMap(({ key, schema, doc }) =>
    key.startsWith('model.') ? [[key.slice('model.'.length), schema.describe(doc!)]] : [],
  ),
) as ModelRows;
