import { z } from 'zod';
import { compact } from '../compact.js';
import { isObject } from '../wire/json-shape.js';
import type { Dialect } from './shared/dialect.js';
import { evaluated, modelName, text } from './shared/fields.js';
import { list, optional, validate } from './shared/validate.js';

/** Max documents of a request, as the largest providers have it. */
const MAX_DOCUMENTS = 1_000;

/** It is evaluated with each document. Characters. */
const MAX_QUERY = 16_384;

/** Jina's and Cohere's clients also send a document as an object with its text. */
const document = z
  .unknown()
  .transform((value) => (isObject(value) ? value.text : value))
  .pipe(evaluated.min(1, 'must be a non-empty text, or an object with one'));

const refused = optional(z.literal(false, 'is not supported: no document is cut'));

const schema = z.object({
  model: modelName,
  query: text.min(1).max(MAX_QUERY),
  documents: list(document, { max: MAX_DOCUMENTS }),
  top_n: optional(z.int().min(1)),
  return_documents: optional(z.boolean()),
  truncation: refused,
  rank_fields: optional(z.undefined('is not supported: send texts')),
});

/** `POST /v1/rerank`, in the shape of Jina's and Cohere's: the best documents first. */
export const rerank: Dialect = {
  description: {
    summary: 'The documents that suit a query best',
    body: schema,
    example: { query: 'a famous dish', documents: ['ceviche', 'a lighthouse'] },
    replies: ['application/json'],
  },
  parse(body) {
    const { model, query, documents, top_n: top, return_documents: returned } = validate(schema, body);
    return {
      evaluate: { task: 'rerank', ...compact({ model }), query, documents },
      result: ({ vectors, promptTokens }, { requestId, trace }) => ({
        id: `rerank-${requestId}`,
        object: 'list',
        model: trace.model,
        usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
        results: vectors
          .map((scores, index) => ({ index, relevance_score: scores[0]! }))
          .sort((a, b) => b.relevance_score - a.relevance_score)
          .slice(0, top)
          .map((each) => (returned ? { ...each, document: { text: documents[each.index] } } : each)),
      }),
    };
  },
};
