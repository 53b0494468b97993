import { z } from 'zod';
import { compact } from '../../compact.js';
import { openAiError } from '../../errors.js';
import { isObject } from '../../wire/json-shape.js';
import type { Call, Dialect } from '../shared/dialect.js';
import { maxTokens, modelName, temperature, text } from '../shared/fields.js';
import { parseTask, taskSchema } from './task.js';
import { validate } from '../shared/validate.js';

const schema = z.object({
  prompt: text.min(1),
  model: modelName,
  max_tokens: maxTokens,
  temperature,
});

/** `POST /llm` has two forms: a task, if the body has a `task`, or a prompt. */
export const llm: Dialect = {
  description: {
    summary: 'Continues a prompt, or does a task',
    body: z.union([schema, taskSchema]),
    example: { prompt: 'Once upon a time', max_tokens: 16 },
    replies: ['application/json'],
  },
  parse: (body) => (isObject(body) && 'task' in body ? parseTask(body) : parsePrompt(body)),
  errorBody: (error) => ({
    body: {
      error: { ...openAiError(error), ...(error.stderr === undefined ? {} : { stderr: error.stderr }) },
    },
  }),
};

/** The prompt form: sends the prompt without a chat template and replies with one JSON body. */
function parsePrompt(body: unknown): Call {
  const parsed = validate(schema, body);
  const { prompt, model, max_tokens = 256, temperature: requested } = parsed;
  return {
    request: {
      kind: 'raw',
      n: 1,
      model,
      unknownModel: 'default',
      body: compact({ prompt, max_tokens, temperature: requested }),
      defaults: { sampling: { temperature: 0.7 } },
    },
    reply: ({ choices }) => {
      const { text: completion, finishReason } = choices[0]!;
      return { completion, finish_reason: finishReason };
    },
  };
}
