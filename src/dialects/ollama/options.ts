import { z } from 'zod';
import type { KeepAlive } from '../../contract.js';
import { maxTokens, modelName, sampling } from '../shared/fields.js';
import { workerSchema } from '../shared/schema-flaw.js';
import { filled, optional } from '../shared/validate.js';

/** The fields that chat and generate share. */

/** A number of tokens; Ollama's -1 and -2, and 0, mean that there is no limit. */
const tokens = z
  .unknown()
  .optional()
  .transform((value) => (typeof value === 'number' && value <= 0 ? undefined : value))
  .pipe(maxTokens);

const { max_tokens: _, max_completion_tokens: __, n_predict: ___, ...tuning } = sampling;

/** Fields of `options`. Those that only say how a model is loaded, such as `num_gpu` and `num_thread`, are dropped. */
const settings = { ...tuning, num_predict: tokens, num_ctx: tokens };

const UNITS = 'ns|us|µs|μs|ms|s|m|h';

/** Go's durations, or seconds. */
const duration = z
  .string()
  .max(64)
  .regex(
    new RegExp(`^[-+]?(?:\\d+|(?:\\d+(?:\\.\\d*)?(?:${UNITS}))+)$`),
    'must be a number of seconds or a duration such as 5m',
  );

/** Only the ends of the scale mean something here: a model stays as long as the server keeps unused ones. */
export const keepAlive = filled(z.union([z.number(), duration])).transform((value): KeepAlive | undefined => {
  if (value === undefined) return undefined;
  const seconds = typeof value === 'number' ? value : signOf(value);
  if (seconds === 0) return 'unload';
  return seconds < 0 ? 'pin' : undefined;
});

function signOf(given: string): number {
  if (!/[1-9]/.test(given)) return 0;
  return given.startsWith('-') ? -1 : 1;
}

/** Some clients send `max`, which not every model knows. */
const EFFORTS = { low: 'low', medium: 'medium', high: 'high', max: 'high' } as const;

const think = optional(z.union([z.boolean(), z.enum(['low', 'medium', 'high', 'max'])]));

const format = filled(
  z.union([z.literal('json'), workerSchema], {
    // The reason why a schema is refused says more than that it is not "json".
    error: ({ input, errors }) =>
      typeof input === 'string' ? 'must be json or a JSON schema' : errors?.[1]?.[0]?.message,
  }),
);

/** A field that would change the reply in a way that is not possible here. */
export const refused = (message: string) => filled(z.undefined(message));

export const common = {
  // The AI SDK's provider puts some fields beside `options` instead of into it.
  ...settings,
  max_output_tokens: tokens,
  model: modelName,
  stream: optional(z.boolean()),
  options: filled(z.object(settings)),
  keep_alive: keepAlive,
  think,
  format,
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  _debug_render_only: optional(z.literal(false, 'is not supported')),
};

type Common = z.output<z.ZodObject<typeof common>>;

type Tuning = { readonly [Name in keyof typeof tuning]?: z.output<(typeof tuning)[Name]> };

/** The fields of `options`, with the limit under its usual name. */
export function samplingFields(parsed: Common): Tuning & { readonly max_tokens: number | undefined } {
  const { options } = parsed;
  const names = Object.keys(tuning) as (keyof typeof tuning)[];
  const given = Object.fromEntries(names.map((name) => [name, options?.[name] ?? parsed[name]]));
  return {
    ...given,
    max_tokens: options?.num_predict ?? parsed.num_predict ?? parsed.max_output_tokens,
  };
}

/** The requested context, in tokens. */
export function contextLength({ options, num_ctx }: Common): number | undefined {
  return options?.num_ctx ?? num_ctx;
}

/** Without a wish of the client the model decides whether it thinks. */
export function thinkFields({ think: wish }: Common) {
  if (wish === undefined) return {};
  return {
    chat_template_kwargs: { enable_thinking: wish !== false },
    reasoning_effort: typeof wish === 'string' ? EFFORTS[wish] : undefined,
  };
}

/** The form of the reply as a chat has it. */
export function responseFormat({ format: wanted }: Common) {
  if (wanted === undefined) return undefined;
  if (wanted === 'json') return { type: 'json_object' as const, schema: undefined };
  return { type: 'json_schema' as const, json_schema: { strict: undefined, schema: wanted } };
}
