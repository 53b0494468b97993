import { z } from 'zod';
import type { GenerateRequest, KeepAlive } from '../../contract.js';
import { compact } from '../../compact.js';
import type { Call, Dialect } from '../shared/dialect.js';
import { modelName, text } from '../shared/fields.js';
import { filled, list, optional, validate } from '../shared/validate.js';
import { errorBody } from './errors.js';
import { keepAlive } from './options.js';
import { nanoseconds } from './reply.js';

/** Max inputs of a request. */
const MAX_INPUTS = 2_048;

const common = { model: modelName, keep_alive: keepAlive };

const schema = z.object({
  ...common,
  input: filled(z.union([text.transform((one) => [one]), list(text.min(1), { max: MAX_INPUTS })])),
  dimensions: optional(z.int().min(0).max(65_536)),
  // An input that is too long fails: half a text has another meaning.
  truncate: optional(z.boolean()),
});

/** `POST /api/embed`: the vectors of one or several texts; without any the model is loaded. */
export const embed: Dialect = {
  parse(body) {
    const began = performance.now();
    const { model, input: inputs, dimensions, keep_alive } = validate(schema, body);
    if (!inputs) return settled(model, keep_alive, { embeddings: [] });
    return {
      keepAlive: keep_alive,
      evaluate: { task: 'embed', ...compact({ model, dimensions: dimensions || undefined }), inputs },
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

const older = z.object({ ...common, prompt: optional(text) });

/** `POST /api/embeddings`: the older form, with one text. */
export const embeddings: Dialect = {
  parse(body) {
    const { model, prompt = '', keep_alive } = validate(older, body);
    if (prompt === '') return settled(model, keep_alive, { embedding: [] });
    return {
      keepAlive: keep_alive,
      evaluate: { task: 'embed', ...compact({ model }), inputs: [prompt] },
      result: ({ vectors }) => ({ embedding: Array.from(vectors[0]!) }),
    };
  },
  errorBody,
};

function settled(model: string | undefined, keepAlive: KeepAlive | undefined, empty: object): Call {
  const request: GenerateRequest = { kind: 'raw', n: 1, model, body: {} };
  return { request, keepAlive, settled: () => ({ model, ...empty }) };
}
