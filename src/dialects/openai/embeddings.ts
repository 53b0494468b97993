import { z } from 'zod';
import { compact } from '../../compact.js';
import type { Dialect } from '../shared/dialect.js';
import { evaluated, modelName } from '../shared/fields.js';
import { list, optional, validate } from '../shared/validate.js';
import { tokenIds } from '../shared/token-ids.js';

/** Max inputs of a request, as OpenAI has it. */
const MAX_INPUTS = 2_048;

const input = z.union([evaluated.min(1), tokenIds], {
  error: 'must be a non-empty text or list of token ids',
});

const fields = {
  model: modelName,
  encoding_format: optional(z.enum(['float', 'base64'], 'must be float or base64')),
  dimensions: optional(z.int().min(1).max(65_536)),
};

const schema = z.object({ ...fields, input });
const severalInputs = z.object({ ...fields, input: list(input, { max: MAX_INPUTS }) });

/** `POST /v1/embeddings`. */
export const embeddings: Dialect = {
  description: {
    summary: 'Embeddings',
    body: z.union([schema, severalInputs]),
    example: { input: ['a famous dish', 'a lighthouse'] },
    replies: ['application/json'],
  },
  parse(body) {
    const { input: given } = body as { input?: unknown };
    // A list of numbers is one input, as token ids.
    const several = Array.isArray(given) && typeof given[0] !== 'number';
    const parsed = validate(several ? severalInputs : schema, body);
    const { model, dimensions } = parsed;
    const inputs = (several ? parsed.input : [parsed.input]) as z.output<typeof input>[];
    const encode = parsed.encoding_format === 'base64' ? toBase64 : toNumbers;
    return {
      evaluate: { task: 'embed', ...compact({ model, dimensions }), inputs },
      result: ({ vectors, promptTokens }, { trace }) => ({
        object: 'list',
        data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encode(vector) })),
        model: trace.model,
        usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
      }),
    };
  },
};

const toNumbers = (vector: ArrayLike<number>): number[] => Array.from(vector);

/** Little-endian floats of 32 bits, on any machine. */
function toBase64(vector: ArrayLike<number>): string {
  const bytes = Buffer.alloc(4 * vector.length);
  for (let i = 0; i < vector.length; i += 1) bytes.writeFloatLE(vector[i]!, 4 * i);
  return bytes.toString('base64');
}
