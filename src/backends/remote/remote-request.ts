import type { EvaluationRequest, GenerateRequest, Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { checkChildRequest, dropsForm, toChildRequest } from '../local/child-request.js';
import type { RemoteOptions } from './options.js';

/** The route and body to post to a remote server. */
export interface RemoteRequest {
  /** Below the base URL's path. */
  readonly route: '/chat/completions' | '/completions' | '/embeddings' | '/rerank';
  readonly body: JsonObject;
}

/** A part of an evaluation, as it is posted. */
export interface RemoteEvaluation extends RemoteRequest {
  /** The client's text. */
  readonly content: JsonObject;
  /** Inputs or documents. */
  readonly count: number;
  /** The client's field that holds them. */
  readonly field: 'input' | 'documents';
}

/** Inputs or documents in one request: what most servers take. */
const MAX_TOGETHER = 128;

/** The requests for an evaluation, in the order of its inputs. */
export function remoteEvaluations(
  request: EvaluationRequest,
  { model }: Pick<RemoteOptions, 'model'>,
): RemoteEvaluation[] {
  if (request.task === 'rerank') {
    const { query } = request;
    return piecesOf(request.documents).map((documents) => ({
      route: '/rerank',
      field: 'documents',
      count: documents.length,
      body: { model, query, documents, top_n: documents.length },
      content: { prompt: [query, ...documents] },
    }));
  }
  const { dimensions } = request;
  return piecesOf(request.inputs).map((inputs) => {
    const input = inputs.map((one) => (typeof one === 'string' ? one : [...one]));
    return {
      route: '/embeddings',
      field: 'input',
      count: input.length,
      body: { model, input, encoding_format: 'base64', ...(dimensions !== undefined && { dimensions }) },
      content: { prompt: input },
    };
  });
}

function piecesOf<T>(items: readonly T[]): T[][] {
  const pieces: T[][] = [];
  for (let at = 0; at < items.length; at += MAX_TOGETHER) pieces.push(items.slice(at, at + MAX_TOGETHER));
  return pieces;
}

/** OpenAI's fields; any others are llama.cpp's, which the server might reject. */
const OPENAI_FIELDS = [
  'messages',
  'prompt',
  'suffix',
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
  'seed',
  'stop',
  'logit_bias',
  'logprobs',
  'top_logprobs',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'response_format',
  'reasoning_effort',
] as const;

/** llama.cpp's fields that the client relies on: a server that does not know them cannot serve the request. */
const LLAMA_CONSTRAINTS = ['grammar', 'json_schema'] as const;

/** Always streamed, even for other clients, to distinguish a silent server from a slow one. */
const STREAM = { stream: true, stream_options: { include_usage: true } } as const;

/** Translates a request for the remote server. @throws LMServError `invalid_value` for one that it cannot serve. */
export function toRemoteRequest(
  request: GenerateRequest,
  options: Pick<RemoteOptions, 'kind' | 'model' | 'maxTokensField'>,
): RemoteRequest {
  const route = request.kind === 'raw' ? '/completions' : '/chat/completions';
  const { max_tokens: maxTokens, ...fields } =
    options.kind === 'llama' ? llamaFields(request) : openAiFields(request.body);
  const limit = maxTokens === undefined ? {} : { [options.maxTokensField]: maxTokens };
  return { route, body: { ...fields, ...limit, ...STREAM, model: options.model } };
}

/** The fields that a local child would get, prefill progress included. @throws LMServError for those that it would not take. */
function llamaFields(request: GenerateRequest): JsonObject {
  checkChildRequest(request);
  if (request.body.suffix !== undefined) {
    const message = "suffix: servers of llama.cpp's kind may ignore it; a remote of kind openai is sent it";
    throw new LMServError('invalid_value', message, { param: 'suffix' });
  }
  if (dropsForm(request.body)) {
    const message = "response_format: this model's server cannot apply it next to tools";
    throw new LMServError('invalid_value', message, { param: 'response_format' });
  }
  return { ...toChildRequest(request).body, return_progress: true };
}

function openAiFields(body: JsonObject): JsonObject {
  const constraint = LLAMA_CONSTRAINTS.find((name) => body[name] !== undefined);
  if (constraint !== undefined) {
    const message = `${constraint}: this model's server takes OpenAI's fields only`;
    throw new LMServError('invalid_value', message, { param: constraint });
  }
  const fields: JsonObject = body.max_tokens === undefined ? {} : { max_tokens: body.max_tokens };
  for (const name of OPENAI_FIELDS) {
    const value = body[name];
    if (value !== undefined) fields[name] = value;
  }
  // A negative seed is llama.cpp's way to request a random one.
  if (typeof fields.seed === 'number' && fields.seed < 0) delete fields.seed;
  if (Array.isArray(fields.messages)) fields.messages = fields.messages.map(withoutReasoning);
  if (fields.response_format !== undefined) fields.response_format = responseFormat(fields.response_format);
  return fields;
}

/** OpenAI's messages have no field for reasoning. */
function withoutReasoning(message: Json): Json {
  const { reasoning_content: _dropped, ...rest } = message as JsonObject;
  return rest;
}

/** A schema in `json_object` is specific to llama.cpp; OpenAI requires `json_schema` with a name. */
function responseFormat(format: Json): Json {
  const { type, schema, json_schema: named } = format as JsonObject;
  if (type === 'json_object' && schema !== undefined) {
    return { type: 'json_schema', json_schema: { name: 'reply', schema } };
  }
  if (type !== 'json_schema') return format;
  return { type, json_schema: { name: 'reply', ...(named as JsonObject) } };
}
