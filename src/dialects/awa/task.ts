import { z } from 'zod';
import type { GenerateRequest, JsonObject } from '../../contract.js';
import { compact } from '../../compact.js';
import { LMServError } from '../../errors.js';
import { isObject } from '../../wire/json-shape.js';
import type { Choice } from '../shared/collect.js';
import type { Call } from '../shared/dialect.js';
import { jsonObject, maxTokens, modelName, temperature, text } from '../shared/fields.js';
import { jsonReply } from '../shared/json-reply.js';
import { compileSchema, type Check } from '../shared/json-schema.js';
import { filled, optional, validate } from '../shared/validate.js';

export const taskSchema = z.object({
  task: z.enum(['chat_completion', 'classify_email', 'parse_price_list']),
  provider: filled(z.enum(['local', 'cloud'])),
  model: modelName,
  input: jsonObject,
  temperature,
  max_tokens: maxTokens,
  schema: optional(jsonObject),
  priority: optional(text.max(64)),
});

const chatInput = z.object({ input: z.object({ prompt: text.min(1) }) });

type Task = z.output<typeof taskSchema>;

/** Any other priority is 0. */
const PRIORITIES = new Map([
  ['high', 1],
  ['interactive', 1],
  ['urgent', 1],
  ['low', -1],
  ['batch', -1],
  ['background', -1],
]);

/** The task form of `POST /llm`: a named task with an input; the result is text or parsed JSON. */
export function parseTask(body: unknown): Call {
  const task = validate(taskSchema, body);
  const { provider = 'local' } = task;
  const messages = buildMessages(task, body);
  const check = task.schema === undefined ? undefined : compileSchema(task.schema);
  return {
    request: toRequest(task, messages),
    reply: ({ choices }) => {
      const choice = choices[0]!;
      const result = parseResult(task, choice, check);
      return { task: task.task, provider, result, finish_reason: choice.finishReason };
    },
  };
}

function toRequest(task: Task, messages: JsonObject[]): GenerateRequest {
  const format = responseFormat(task);
  return {
    kind: 'chat',
    n: 1,
    model: task.model,
    body: compact({
      messages,
      temperature: task.temperature,
      max_tokens: task.max_tokens ?? 800,
      response_format: format,
    }),
    defaults: { sampling: { temperature: 0 } },
    unknownModel: 'default',
    provider: task.provider === 'cloud' ? 'cloud' : undefined,
    priority: PRIORITIES.get(task.priority?.toLowerCase() ?? ''),
  };
}

/** A chat sends its prompt; other tasks send an instruction, with the task and its input as JSON. */
function buildMessages(task: Task, body: unknown): JsonObject[] {
  if (task.task === 'chat_completion') {
    return [{ role: 'user', content: validate(chatInput, body).input.prompt }];
  }
  const form = task.schema === undefined ? '' : ` that fits this JSON schema: ${JSON.stringify(task.schema)}`;
  return [
    {
      role: 'system',
      content: `Do the task that the user names on the input given with it. Answer with JSON alone, one object${form}`,
    },
    { role: 'user', content: JSON.stringify({ task: task.task, input: task.input }) },
  ];
}

function responseFormat(task: Task): JsonObject | undefined {
  if (task.schema !== undefined) {
    return { type: 'json_schema', json_schema: { name: task.task, schema: task.schema } };
  }
  return task.task === 'chat_completion' ? undefined : { type: 'json_object' };
}

/** @throws LMServError `invalid_response` for a reply that is not JSON, or not as the schema requires (default: an object). */
function parseResult(task: Task, choice: Choice, check: Check | undefined): unknown {
  if (task.task === 'chat_completion' && !check) return choice.text;
  const result = jsonReply(choice);
  const problem = (check ?? anyObject)(result);
  if (problem === undefined) return result;
  throw new LMServError(
    'invalid_response',
    `The model's reply does not have the requested format: ${problem}`,
  );
}

const anyObject: Check = (value) => (isObject(value) ? undefined : 'it must be an object');
