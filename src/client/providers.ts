/** How each kind of server is spoken to. */

import { DONE, decodeSse } from '../wire/sse.js';
import {
  readBytes,
  Deadline,
  invalidResponse,
  post,
  readJson,
  requestId,
  describeErrorValue,
  oneLine,
  record,
} from './http.js';
import { BrokenStreamError, LLMClientError } from './errors.js';
import { OPENAI_BASE } from './target.js';
import type { Call, Piece, Provider, Target } from './types.js';

/** How long a server may take to close a stream after `[DONE]`, milliseconds; then we close it. */
const CLOSE_MS = 1000;

/** Providers `lan` and `openai`: `POST /v1/chat/completions`, whole or as server-sent events. */
export const chat: Provider = { complete: completeChat, stream: streamChat };

async function completeChat(target: Target, call: Call): Promise<Piece> {
  const deadline = new Deadline(call.timeoutMs, call.signal);
  try {
    return await deadline.run(async () => {
      const response = await post(target, chatBody(target, call, false), deadline);
      const choice = firstChoice(await readJson(target, response, deadline));
      const message = choice?.['message'];
      if (message === undefined) throw invalidResponse(target, response, 'the answer holds no message');
      return piece(choice, message);
    });
  } finally {
    deadline.close();
  }
}

async function* streamChat(target: Target, call: Call): AsyncGenerator<Piece> {
  const deadline = new Deadline(call.timeoutMs, call.signal);
  try {
    const response = await post(target, chatBody(target, call, true), deadline);
    yield* readPieces(target, response, deadline);
  } finally {
    deadline.close();
  }
}

/** Reads to the end of the connection, past `[DONE]`, so that the server sees a client that took everything. */
async function* readPieces(target: Target, response: Response, deadline: Deadline): AsyncGenerator<Piece> {
  let done = false;
  try {
    for await (const data of decodeSse(readBytes(response, deadline))) {
      if (done) continue;
      done = data === DONE;
      if (done) deadline.endWithin(CLOSE_MS);
      else yield readChunk(target, response, data);
      deadline.signal.throwIfAborted();
    }
  } catch (thrown) {
    if (done) return;
    throw deadline.signal.aborted ? deadline.signal.reason : brokenStream(response, thrown);
  }
  if (!done) throw brokenStream(response, undefined);
}

/** One event's piece; its text is empty for a role, usage or reasoning chunk. */
function readChunk(target: Target, response: Response, data: string): Piece {
  const chunk = parse(data);
  if ((record(chunk)['error'] ?? undefined) !== undefined) throw errorEvent(target, response, chunk);
  const choice = firstChoice(chunk);
  return piece(choice, choice?.['delta']);
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    // JSON.parse repeats the text in its message, and that text may be the answer.
    throw new SyntaxError('an event of the stream is not JSON');
  }
}

function piece(choice: Readonly<Record<string, unknown>> | undefined, message: unknown): Piece {
  const content = record(message)['content'];
  const reason = choice?.['finish_reason'];
  return {
    text: typeof content === 'string' ? content : '',
    finishReason: typeof reason === 'string' ? reason : undefined,
  };
}

function firstChoice(reply: unknown): Readonly<Record<string, unknown>> | undefined {
  const choices = record(reply)['choices'];
  return Array.isArray(choices) && choices.length > 0 ? record(choices[0]) : undefined;
}

function errorEvent(target: Target, response: Response, chunk: unknown): BrokenStreamError {
  const { message, code } = describeErrorValue(chunk);
  return new BrokenStreamError(oneLine(message ?? 'the server reported an error', target.apiKey), {
    status: response.status,
    code: oneLine(code ?? 'error_event', target.apiKey),
    requestId: requestId(response),
  });
}

function brokenStream(response: Response, cause: unknown): LLMClientError {
  if (cause instanceof LLMClientError) return cause;
  const info = { status: response.status, code: 'stream_cut', requestId: requestId(response), cause };
  return new BrokenStreamError('the stream ended before the answer was whole', info);
}

function chatBody(target: Target, call: Call, streamed: boolean): object {
  const system = call.system === undefined ? [] : [{ role: 'system', content: call.system }];
  return {
    model: target.model,
    messages: [...system, { role: 'user', content: call.prompt }],
    temperature: call.temperature,
    // OpenAI's newer models refuse max_tokens; servers that only speak its protocol may know nothing else.
    [target.origin === OPENAI_BASE ? 'max_completion_tokens' : 'max_tokens']: call.maxTokens,
    stream: streamed,
  };
}

/** Provider `local`: the prompt form of `POST /llm`, which reaches the model without a chat template. */
export const raw: Provider = { complete: completeRaw, stream: streamRaw };

async function completeRaw(target: Target, call: Call): Promise<Piece> {
  const deadline = new Deadline(call.timeoutMs, call.signal);
  try {
    return await deadline.run(async () => {
      const response = await post(target, rawBody(call), deadline);
      const text = record(await readJson(target, response, deadline))['completion'];
      if (typeof text !== 'string') throw invalidResponse(target, response, 'the reply holds no completion');
      return { text };
    });
  } finally {
    deadline.close();
  }
}

/** The route does not stream, so the whole reply is one piece. */
async function* streamRaw(target: Target, call: Call): AsyncGenerator<Piece> {
  yield await completeRaw(target, call);
}

function rawBody(call: Call): object {
  return {
    prompt: call.system === undefined ? call.prompt : `${call.system}\n\n${call.prompt}`,
    max_tokens: call.maxTokens,
    temperature: call.temperature,
  };
}

/** The stub's whole reply, the same for every prompt. */
export const STUB_ANSWER = '[stub] No language model was asked; this text stands in for its answer.';

/** Provider `stub`: says at once, without any network, that no model was asked. */
export const stub: Provider = { complete: completeStub, stream: streamStub };

async function completeStub(_target: Target, call: Call): Promise<Piece> {
  call.signal?.throwIfAborted();
  return { text: STUB_ANSWER, finishReason: 'stop' };
}

/** Word by word, so that people trying out streaming see a stream. */
async function* streamStub(_target: Target, call: Call): AsyncGenerator<Piece> {
  for (const text of STUB_ANSWER.split(/(?<= )/)) {
    call.signal?.throwIfAborted();
    yield { text };
  }
}
