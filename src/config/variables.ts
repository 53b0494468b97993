/**
 * Every variable of the server, one row each: what it is called in Config, how it is read, and its sentence. Types,
 * `.env.example`, the tables of `docs/configuration.md` and `lmserv.schema.json` are made from these rows.
 */

import { z } from 'zod';
import { rateSchema } from '../accounts/keys/rate.js';
import { profilesJson, triageFields } from '../dialects/llm-connect/profiles/profile.js';
import { int, list, oneOf, seconds, secondsFrom } from './fields.js';
import { invalidNetworks, isOrigin, parseTrustProxy, toBlockList } from './networks.js';

export type Env = Readonly<Record<string, string | undefined>>;

/** How a variable's text becomes a value for its schema. What is not a number stays text, for the schema to refuse. */
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

/** What is said about a variable. */
export interface Notes {
  /** One sentence, in Markdown. */
  readonly doc?: string;
  /** Follows the sentence on the docs page. */
  readonly more?: string;
  /** The default in words, where the schema has none. */
  readonly byDefault?: string;
  /** For `.env.example`, where neither is a value. */
  readonly sample?: string | number;
}

export interface Row<K extends string = string, S extends z.ZodType = z.ZodType> extends Notes {
  /** In Config; a dot leads into a part of it. */
  readonly key: K;
  readonly read: Reader;
  /** Of the value, with its default; times leave it in milliseconds and memory in bytes. */
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

/** Clients send any other characters in different ways, or not at all. */
const keyText = text.regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces');
const toMs = (secs: number) => secs * 1000;
const duration = seconds.transform(toMs);
const period = (min: number, max: number) => secondsFrom(min, max).transform(toMs);
const onOff = oneOf('on', 'off').transform((value) => value === 'on');
const textItem = z.string('must be a text');
const gpu = textItem.regex(/^[\w:./-]+$/, 'must be the id of a GPU such as "0"');
const mebibytes = int(1, 16_777_216).transform((mib) => mib * 2 ** 20);
const logLevel = text.toLowerCase().pipe(oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'));
const tokens = int(1, 16_777_216);

const networks = z.array(text).transform((parts, context) => {
  for (const part of invalidNetworks(parts))
    context.addIssue(`${JSON.stringify(part)} is not a valid network (expected e.g. 192.168.1.0/24)`);
  return toBlockList(parts);
});
const origins = z
  .array(text)
  .refine((parts) => parts.every(isOrigin), 'must be * or origins such as https://app.example');
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
    doc: 'Port; 0 takes a free one and prints it.',
    byDefault: '8000',
  }),
  API_KEY: row('apiKey', text, keyText.optional(), {
    doc: 'The key, sent as `X-API-Key` or `Authorization: Bearer`; printable ASCII without spaces.',
    more: 'Empty turns keys off; HOST must be set then.',
    byDefault: 'changeme',
  }),
  API_KEYS_FILE: row('keysFile', text, text.optional(), {
    doc: 'File of more keys with their own tenants, limits and budgets.',
    more: 'See [keys.md](keys.md). With it `changeme` stops being a key. Reloaded when it changes.',
    sample: 'keys.json',
  }),
  KEYLESS_NETWORKS: row('keyless', items, networks.prefault([]), {
    doc: 'Networks whose clients need no key, such as `192.168.1.0/24,10.0.0.7`.',
    more: 'They spend for and read any tenant; behind a proxy see [security.md](security.md#tls-in-front).',
    sample: '192.168.1.0/24',
  }),
  ALLOWED_HOSTS: row('allowedHosts', items, list(text).default([]), {
    doc: 'More names accepted in the Host header; others get 421, and `*` accepts any.',
    more: "`localhost`, this machine's name (also with `.local` and `.lan`), HOST and all IP addresses are always accepted.",
    sample: 'llm.example.lan',
  }),
  CORS_ORIGINS: row('corsOrigins', items, origins.default([]), {
    doc: 'Origins of web pages that may call, or `*`.',
    sample: 'https://app.example.lan',
  }),
  TRUST_PROXY: row('trustProxy', text, proxies.prefault('off'), {
    doc: 'Whose X-Forwarded-For is believed: `on`, `off`, a number of proxies, or their addresses.',
    more: '`on` believes its first address, which clients may choose unless the proxy replaces it.',
  }),
};

/** Of the one model that there is without a configuration file. `model.` keys are fields of `models.NAME` in the file. */
const MODEL = {
  LMSERV_CONFIG: row('configFile', text, text.optional(), {
    doc: 'The configuration file: [models-and-groups.md](models-and-groups.md).',
    more: 'Reloaded when it changes and at SIGHUP.',
    byDefault: 'lmserv.config.json, if it exists',
    sample: 'lmserv.config.json',
  }),
  LLM_MODEL_PATH: row('modelPath', text, text.optional(), {
    doc: 'A GGUF file, or `hf:org/repo:quant`, which is fetched at the first start.',
    more: 'When it is not set and the default does not exist, the demo model is served.',
    byDefault: 'models/gemma-2b-it-q4_0.gguf',
  }),
  LLM_BIN_PATH: row('binPath', text, text.optional(), {
    doc: '`llama-cli` or `llama-server`.',
    more: 'When it is not set: `build-cuda`, `build-vulkan`, `build-metal`, `build`, then PATH.',
    byDefault: 'vendor/llama.cpp/build-cuda/bin/llama-cli',
  }),
  LLM_WORKERS: row('model.workers', number, int(1, 256).default(1), {
    doc: 'Persistent worker processes.',
  }),
  LLM_SLOTS: row('model.slots', numberOrAuto, int(1, 256).optional(), {
    doc: 'Sequences each worker decodes together; by default 4 on a GPU, 2 on a CPU, 1 where a worker has one thread.',
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
    doc: 'Ids of GPUs, dealt out to the workers in turn.',
    sample: '0,1',
  }),
  LLM_THREADS: row('model.threads', number, int(1, 4096).optional(), {
    doc: 'Threads of each worker; by default the cores are shared out.',
    byDefault: 'cores / workers',
    sample: 4,
  }),
  LLM_EXTRA_ARGS: row('model.extraArgs', args, list(textItem).default([]), {
    doc: 'Additional arguments of llama.cpp; they come last, so they win.',
    more: 'Quotes keep one with spaces together. Everybody on the machine can read them, so no key.',
    sample: '-fa on',
  }),
  CACHE_RAM_MB: row('model.cacheRamMb', number, int(0, 16_777_216).optional(), {
    doc: 'Prompt cache of llama.cpp over all workers of the model, MiB; 0 is off.',
    more: 'Each slot keeps its last prompt even so.',
    byDefault: 'an eighth of the free memory, at most 8192',
    sample: 1024,
  }),
  PROMPT_CACHE: row('promptCache', text, onOff.prefault('on'), {
    doc: "`off` evaluates each prompt whole, so that no caller can tell from a reply's speed what others asked.",
    more: "A conversation's next turn then takes as long as its first; see [security.md](security.md).",
  }),
  UNKNOWN_MODEL: row('unknownModel', text, oneOf('404', 'default').default('404'), {
    doc: '`default` serves requests for an unknown model with the default model.',
  }),
};

const LIMITS = {
  MAX_TOKENS: row('maxTokens', number, tokens.default(1024), {
    doc: 'Tokens to generate when an OpenAI-shaped request does not say.',
  }),
  MAX_TOKENS_CAP: row('maxTokensCap', number, tokens.optional(), {
    doc: 'Requests for more tokens are lowered to this.',
    byDefault: 'the context',
    sample: 4096,
  }),
  MAX_BODY_BYTES: row('maxBodyBytes', number, int(1024, 1_073_741_824).default(1_048_576), {
    doc: 'A larger body gets 413; counted after decompression.',
    more: 'All bodies under way share 64 MiB, or twice this if that is more.',
  }),
  SPECIAL_TOKENS: row('specialTokens', text, oneOf('allow', 'reject').default('allow'), {
    doc: "`reject` answers a client's text that contains control tokens of a local model with 400.",
    more: 'See [models.md](models.md#control-tokens-in-a-clients-text).',
  }),
  RATE_LIMIT_QPS: row('rateLimitQps', number, rateSchema.default(0), {
    doc: 'Requests a second per key, at least 0.00001; more get 429, and 0 is no limit.',
    more: '0.1 is one in ten seconds.',
  }),
  QUEUE_LIMIT: row('queueLimit', number, int(0, 1_000_000).default(64), {
    doc: 'Requests that may wait for a slot; beyond that, those of the caller with most get 503.',
  }),
  QUEUE_TIMEOUT_SECS: row('queueTimeoutMs', number, duration.prefault(30), {
    doc: 'Longest wait for a slot; then the request gets 503.',
  }),
  START_TIMEOUT_SECS: row('timeouts.startMs', number, duration.prefault(120), {
    doc: 'Longest silence of a worker that starts; any line it logs is a sign of life.',
  }),
  FIRST_TOKEN_TIMEOUT_SECS: row('timeouts.firstTokenMs', number, duration.prefault(60), {
    doc: 'Longest time without progress before the first token; each evaluated batch of the prompt is progress.',
  }),
  TOKEN_TIMEOUT_SECS: row('timeouts.tokenMs', number, duration.prefault(15), {
    doc: 'Longest time without a token after the first one; tokens of any slot of the worker count.',
  }),
  WORKER_MAX_REQUESTS: row('recycling.requests', number, int(1, 2_147_483_647).optional(), {
    doc: 'Requests after which a worker is replaced by a fresh one, without a failed request.',
    more: 'See [reliability.md](reliability.md).',
    sample: 10_000,
  }),
  WORKER_MAX_AGE_SECS: row('recycling.ageMs', number, period(1, 31_536_000).optional(), {
    doc: 'Age at which a worker is replaced.',
    sample: 86_400,
  }),
  WORKER_MAX_MEMORY_MB: row('recycling.memoryBytes', number, mebibytes.optional(), {
    doc: 'Memory of its own at which a worker is replaced, MiB; Linux only.',
    more: 'Its own are anonymous pages and swap, not the mapped weights.',
    sample: 8192,
  }),
  REPLY_RESUME: row('replyResume', text, onOff.prefault('on'), {
    doc: 'A reply whose worker dies or hangs is resumed on another one, unseen by its client; `off` breaks it visibly.',
    more: 'See [reliability.md](reliability.md).',
  }),
  RESUME_TIMEOUT_SECS: row('resumeTimeoutMs', number, duration.prefault(30), {
    doc: 'Longest wait of such a reply for another worker, ahead of the queue.',
  }),
  SHUTDOWN_GRACE_SECS: row('shutdownGraceMs', number, period(0, 86_400).prefault(30), {
    doc: 'Time for open replies to finish after SIGTERM.',
  }),
};

const OUTPUT = {
  DATA_DIR: row('dataDir', text, text.default('data'), {
    doc: 'Folder of the usage table.',
  }),
  LOG_LEVEL: row('logLevel', text, logLevel.prefault('INFO'), {
    doc: 'TRACE, DEBUG, INFO, WARN, ERROR, FATAL or SILENT.',
    more: 'JSON on stdout, readable lines on a terminal.',
  }),
  HEALTH_FORMAT: row('healthFormat', text, oneOf('text', 'json').default('text'), {
    doc: '`json` makes `/health` JSON for everybody, as clients of Konstruct, llm-connect and AWA expect.',
  }),
};

const LLM_CONNECT = {
  LLM_CONNECT_HOST: row('connectHost', text, text.optional(), {
    doc: 'HOST, when that is not set.',
    sample: '127.0.0.1',
  }),
  LLM_CONNECT_PORT: row('connectPort', number, int(0, 65_535).optional(), {
    doc: 'PORT, when that is not set.',
    sample: 8000,
  }),
  LLM_CONNECT_PROVIDER: row('provider', text, text.default('local'), {
    doc: 'Whose model serves requests that name none: `local`, `mock`, or a provider of the configuration file.',
  }),
  LLM_CONNECT_MODEL: row('defaultModel', text, text.optional(), {
    doc: 'The model or group that serves them.',
    sample: 'default',
  }),
};

/** What they mean is dialects/llm-connect's. */
const PROFILES = {
  LLM_CONNECT_PROFILES_JSON: row('profilesJson', text, profilesJson.optional(), {
    doc: 'Profiles by name, as JSON.',
    sample: '{}',
  }),
  LLM_CONNECT_PROFILE_FILE: row('profileFile', text, text.optional(), {
    doc: 'A file with the same.',
    sample: 'profiles.json',
  }),
  LLM_CONNECT_CUSTODIAN_TRIAGE_PROVIDER: row('triage.provider', text, triageFields.provider, {
    doc: 'These replace single values of the built-in profile `custodian-triage-balanced`.',
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

/** By the section of `docs/configuration.md` that has them. */
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

/** What is wrong with a variable, or with a file. */
export interface Problem {
  /** Its name. */
  readonly variable: string;
  /** What is wrong and what to do, without the name. */
  readonly message: string;
}

/** Reads all variables; one with a problem has its default. An empty one counts as not set, but an empty API_KEY turns keys off. */
export function readVariables(env: Env): { settings: Settings; problems: Problem[] } {
  const settings: Record<string, unknown> = {};
  const problems: Problem[] = [];
  for (const [variable, { key, read, schema }] of Object.entries<Row>(VARIABLES)) {
    const value = env[variable] === '' && variable !== 'API_KEY' ? undefined : env[variable];
    const result = value === undefined ? schema.safeParse(value) : read.pipe(schema).safeParse(value);
    assign(settings, key, result.success ? result.data : schema.parse(undefined));
    if (!result.success)
      problems.push(...describeIssues(result.error).map((message) => ({ variable, message })));
  }
  return { settings: settings as Settings, problems };
}

/** The messages of a schema's error, each with its place in the value. */
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

/** The fields of a model in the configuration file that are variables too. */
export const modelFields = Object.fromEntries(
  Object.values<Row>(MODEL).flatMap(({ key, schema, doc }) =>
    key.startsWith('model.') ? [[key.slice('model.'.length), schema.describe(doc!)]] : [],
  ),
) as ModelRows;
