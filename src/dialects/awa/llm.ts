import { z } from 'zod';
import { openAiError } from '../../errors.js';
import type { Call, Dialect } from '../shared/dialect.js';
import { maxTokens, modelName, temperature, text } from '../shared/fields.js';
import { parseTask } from './task.js';
import { validate } from '../shared/validate.js';

const schema = z.object({
  prompt: text.min(1),
  model: modelName,
  max_tokens: maxTokens,
  temperature,
});

/** `POST /llm`, two forms in one: with `task` it is a task, else a prompt. */
export const llm: Dialect = {
  parse: (body) => (isTask(body) ? parseTask(body) : parsePrompt(body)),
  errorBody: (error) => ({
    body: {
      error: { ...openAiError(error), ...(error.stderr === undefined ? {} : { stderr: error.stderr }) },
    },
  }),
};

function isTask(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'task' in body;
}

/** The prompt as it is, no chat template, one JSON body. */
function parsePrompt(body: unknown): Call {
  const given = validate(schema, body);
  const fields = {
    prompt: given.prompt,
    max_tokens: given.max_tokens ?? 256,
    temperature: given.temperature ?? 0.7,
  };
  return {
    request: { kind: 'raw', n: 1, model: given.model, body: fields, unknownModel: 'default' },
    reply: ({ choices }) => {
      const { text: completion, finishReason } = choices[0]!;
      return { completion, finish_reason: finishReason };
    },
  };
}
