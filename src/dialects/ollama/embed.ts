import { z } from 'zod';
import type { GenerateRequest, KeepAlive } from '../../contract.js';
import { compact } from '../../compact.js';
import type { Call, Dialect } from '../shared/dialect.js';
import { evaluated, modelName } from '../shared/fields.js';
import { filled, list, optional, validate } from '../shared/validate.js';
import { errorBody } from './errors.js';
import { keepAlive } from './options.js';
import { nanoseconds } from './reply.js';

/** Max inputs of a request. */
const MAX_INPUTS = 2_048;

const common = { model: modelName, keep_alive: keepAlive };

const schema = z.object({
  ...common,
  input: filled(
    z.union([evaluated.transform((one) => [one]), list(evaluated.min(1), { max: MAX_INPUTS })], {
      // What is wrong with the text or the list says more than that it is neither.
      error: ({ input, errors }) => errors?.[Array.isArray(input) ? 1 : 0]?.[0]?.message,
    }),
  ),
  dimensions: optional(z.int().min(0).max(65_536)),
  truncate: optional(z.boolean()),
});

/** `POST /api/embed`: the vectors of one or several texts; without any the model is loaded. */
export const embed: Dialect = {
  description: {
    summary: 'Ollama’s embeddings, of one or several texts',
    body: schema,
    example: { input: ['a famous dish', 'a lighthouse'] },
    replies: ['application/json'],
  },
  parse(body) {
    const began = performance.now();
    const { model, input: inputs, dimensions, truncate = true, keep_alive } = validate(schema, body);
    if (!inputs) return settled(model, keep_alive, { model, embeddings: [] });
    return {
      keepAlive: keep_alive,
      evaluate: {
        task: 'embed',
        ...compact({ model, dimensions: dimensions || undefined }),
        inputs,
        truncate,
      },
      result: ({ vectors, promptTokens }, { trace }) => ({
        model: model ?? trace.model,
        embeddings: vectors.map((vector) => Array.from(vector)),
        total_duration: nanoseconds(performance.now() - began),
        load_duration: nanoseconds(trace.queueMs ?? 0),
        prompt_eval_count: promptTokens,
      }),
    };
  },
  errorBody,
};

const older = z.object({ ...common, prompt: optional(evaluated) });

/** `POST /api/embeddings`: the older form, with one text. */
export const embeddings: Dialect = {
  description: {
    summary: 'Ollama’s older embeddings, of one text',
    body: older,
    example: { prompt: 'a famous dish' },
    replies: ['application/json'],
  },
  parse(body) {
    const { model, prompt = '', keep_alive } = validate(older, body);
    if (prompt === '') return settled(model, keep_alive, { embedding: [] });
    return {
      keepAlive: keep_alive,
      evaluate: { task: 'embed', ...compact({ model }), inputs: [prompt], truncate: true },
      result: ({ vectors }) => ({ embedding: Array.from(vectors[0]!) }),
    };
  },
  errorBody,
};

function settled(model: string | undefined, keepAlive: KeepAlive | undefined, reply: object): Call {
  const request: GenerateRequest = { kind: 'raw', n: 1, model, body: {} };
  return { request, keepAlive, settled: () => reply };
}
