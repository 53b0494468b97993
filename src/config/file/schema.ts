/** The schema of the configuration file. References between its parts are checked in `check.ts`. */

import { z } from 'zod';
import { amountUpTo, budgetSchema } from '../../accounts/usage/budget.js';
import { compact } from '../../compact.js';
import type { JsonObject } from '../../contract.js';
import {
  int,
  list,
  name,
  numberFrom,
  oneOf,
  seconds,
  secondsFrom,
  serverUrl,
  text,
  variable,
} from '../fields.js';
import { modelFields } from '../variables.js';

const MAX_TOKENS = 16_777_216;

const amount = amountUpTo(1_000_000);

const price = z
  .strictObject({
    prompt: amount.describe('Price of a thousand prompt tokens.'),
    completion: amount.describe('Price of a thousand completion tokens.'),
  })
  .describe('Prices of a thousand tokens, in the currency of the budgets; free if absent.');

const maxTokens = int(1, MAX_TOKENS).describe(
  'Default limit of tokens in a reply, for requests without one.',
);
const maxTokensCap = int(1, MAX_TOKENS).describe('Requests for more tokens are lowered to this.');

const sampling = z
  .strictObject({
    temperature: numberFrom(0, 2),
    top_p: numberFrom(0, 1),
    top_k: int(-1, 2_147_483_647),
    min_p: numberFrom(0, 1),
    typical_p: numberFrom(0, 1),
    repeat_penalty: numberFrom(1e-6, 1e6),
    frequency_penalty: numberFrom(-2, 2),
    presence_penalty: numberFrom(-2, 2),
  })
  .partial()
  .transform((fields) => compact(fields) as JsonObject)
  .describe('Sampling where a request does not set it: fields of a request, under their names there.');

const system = text.describe('The system message of chats that bring none.');

const alias = z
  .strictObject({ name, sampling: sampling.optional(), system: system.optional() })
  .describe('A name with defaults of its own, which come before those of the model.');

const aliases = list(
  z
    .union([name, alias], 'must be a name, or an object with a name and its defaults')
    .transform((value) => (typeof value === 'string' ? { name: value } : value)),
)
  .default([])
  .describe('Additional names, for clients that use them.');

/** Settings of local and remote models alike; changing them keeps the running backend. */
const common = {
  aliases,
  sampling: sampling.optional(),
  system: system.optional(),
  price: price.optional(),
  maxTokens: maxTokens.optional(),
  maxTokensCap: maxTokensCap.optional(),
};

const lora = z.strictObject({
  path: text.describe('A GGUF file, relative to this file, of an adapter for the architecture of the model.'),
  scale: numberFrom(-100, 100).default(1).describe('How strongly it changes the model.'),
});

const modelSchema = z
  .strictObject({
    path: text.describe(
      'A GGUF file, relative to this file, or hf:org/repo:quant, which is fetched at the first start.',
    ),
    binPath: text.optional().describe('llama-cli or llama-server; default: LLM_BIN_PATH.'),
    ...modelFields,
    lora: list(lora).default([]).describe('Adapters that change the model, all of them at once.'),
    matryoshka: z
      .boolean()
      .optional()
      .describe('Its embeddings may be cut to fewer numbers, as `dimensions` of a request asks.'),
    preload: z.boolean().optional().describe('Loaded at the start, as the default model is.'),
    pin: z.boolean().optional().describe('Loaded at the start and never unloaded.'),
    ...common,
  })
  .describe('A model served by llama.cpp on this machine.');

const timeouts = z
  .strictObject({
    connectSecs: seconds.default(5).describe('To connect, TLS included.'),
    firstTokenSecs: seconds.default(60).describe('Without progress before the first token.'),
    tokenSecs: seconds.default(15).describe('Without a token after the first one.'),
    totalSecs: seconds.default(600).describe('For the whole reply, including retries.'),
  })
  .describe('Time limits, seconds.');

const retries = z
  .strictObject({
    attempts: int(0, 10).default(2).describe('Max retries after the first attempt.'),
    budgetSecs: secondsFrom(0, 600).default(5).describe('Max time from the first attempt to the last retry.'),
  })
  .describe('Retries of requests that fail before the first token.');

const remoteSchema = z
  .strictObject({
    baseUrl: serverUrl.describe(
      'The server: http://10.0.0.2:8000, which gets /v1 added, or a URL with a path such as https://openrouter.ai/api/v1.',
    ),
    model: text.describe("The model's name on that server."),
    kind: z
      .enum(['llama', 'openai'], 'must be "llama" or "openai"')
      .default('openai')
      .describe(
        "llama: accepts llama.cpp's fields too (LMServ, llama-server, vLLM, Ollama); openai: only OpenAI's fields are sent.",
      ),
    task: oneOf('chat', 'embed', 'rerank')
      .default('chat')
      .describe('What the model is for: requests of other kinds are refused.'),
    provider: name
      .optional()
      .describe('The provider of this remote, for requests that name one; default: the name of this remote.'),
    apiKeyEnv: variable.optional().describe('The environment variable that holds the key.'),
    maxTokensField: z
      .enum(['max_tokens', 'max_completion_tokens'], 'must be "max_tokens" or "max_completion_tokens"')
      .default('max_tokens')
      .describe(
        "The field for the token limit; OpenAI's reasoning models accept only max_completion_tokens.",
      ),
    proxy: serverUrl.optional().describe('An HTTP proxy to use.'),
    timeouts: timeouts.prefault({}),
    retries: retries.prefault({}),
    ...common,
  })
  .describe("A model served by another server that speaks OpenAI's protocol.");

const groupSchema = z
  .strictObject({
    members: list(name)
      .min(1, 'must name at least one model or remote')
      .describe('Models and remotes in the order they are tried.'),
    fallback: list(name).default([]).describe('Groups that are tried after all members have failed.'),
    firstTokenSecs: seconds.default(120).describe('Max time to the first token over all members, seconds.'),
    aliases: list(name).default([]).describe('Additional names, for clients that use them.'),
  })
  .describe('A name for several models, tried in order until one sends its first token.');

const tenantSchema = z.strictObject({
  budget: budgetSchema
    .optional()
    .describe(
      'day and month in the currency of the prices, dayTokens and monthTokens in tokens; unlimited if absent.',
    ),
});

const record = <T extends z.ZodType>(value: T) => z.record(name, value);

export const fileSchema = z
  .strictObject({
    $schema: z.string().optional().describe('For editors.'),
    models: record(modelSchema).prefault({}).describe('Models on this machine, by name.'),
    remotes: record(remoteSchema).prefault({}).describe('Models on other servers, by name.'),
    groups: record(groupSchema).prefault({}).describe('Groups, by name.'),
    default: name
      .optional()
      .describe('The model or group for requests that name none; default: the first model.'),
    tenants: z
      .record(z.string().min(1).max(128), tenantSchema)
      .prefault({})
      .describe('Tenants with a budget, by name.'),
    maxTokens: maxTokens.optional(),
    maxTokensCap: maxTokensCap.optional(),
  })
  .describe('LMServ: models, remote servers, groups, prices and budgets.');

export type ConfigFile = Omit<z.output<typeof fileSchema>, 'models'> & {
  readonly models: Readonly<Record<string, ModelSettings>>;
};

/** What is known of a model's files once they have been looked at; no field of the configuration file. */
interface FileSettings {
  /** Changes when the files were replaced. */
  readonly revision?: string;
  /** It is in no configuration: only its file was found. */
  readonly found?: true;
  /** Path of a projector, which gives the model images. */
  readonly mmproj?: string;
}

export type ModelSettings = z.output<typeof modelSchema> & FileSettings;
export type RemoteSettings = z.output<typeof remoteSchema>;
