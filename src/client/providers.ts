/** How each kind of server is spoken to. */

import { readContent } from '../wire/content.js';
import { readFinishReason } from '../wire/finish-reason.js';
import { DONE, decodeSse } from '../wire/sse.js';
import {
  readBytes,
  Deadline,
  invalidResponse,
  MAX_REPLY,
  TOO_LARGE,
  post,
  readJson,
  requestId,
  describeErrorValue,
  oneLine,
  record,
} from './http.js';
import { BrokenStreamError, LLMClientError, ServerError, type ErrorInfo } from './errors.js';
import { OPENAI_BASE } from './target.js';
import type { Call, Piece, Provider, Target } from './types.js';

/** How long a server may take to close a stream after the end of its reply, milliseconds; then we close it. */
const CLOSE_MS = 1000;

/** Providers `lan` and `openai`: `POST /v1/chat/completions`, whole or as server-sent events. */
export const chat: Provider = { complete: completeChat, stream: streamChat };

async function completeChat(target: Target, call: Call): Promise<Piece> {
  const deadline = new Deadline(call.timeoutMs, call.signal);
  try {
    return await deadline.run(async () => {
      const response = await post(target, chatBody(target, call, false), deadline);
      // Some servers always stream.
      return isStream(response)
        ? joined(target, response, readPieces(target, response, deadline))
        : readWhole(target, response, deadline);
    });
  } finally {
    deadline.close();
  }
}

async function* streamChat(target: Target, call: Call): AsyncGenerator<Piece> {
  const deadline = new Deadline(call.timeoutMs, call.signal);
  try {
    const response = await post(target, chatBody(target, call, true), deadline);
    // Some servers never stream.
    if (isJson(response)) yield await readWhole(target, response, deadline);
    else yield* readPieces(target, response, deadline);
  } finally {
    deadline.close();
  }
}

const isJson = (response: Response): boolean =>
  /^application\/json\b/i.test(response.headers.get('content-type') ?? '');

const isStream = (response: Response): boolean =>
  /^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '');

/** The pieces of a stream as one. */
async function joined(target: Target, response: Response, pieces: AsyncIterable<Piece>): Promise<Piece> {
  let text = '';
  let finishReason: string | undefined;
  for await (const next of pieces) {
    text += next.text;
    finishReason = next.finishReason ?? finishReason;
    if (text.length > MAX_REPLY) throw invalidResponse(target, response, TOO_LARGE);
  }
  return { text, finishReason };
}

async function readWhole(target: Target, response: Response, deadline: Deadline): Promise<Piece> {
  const reply = await readJson(target, response, deadline);
  if (hasError(reply)) throw new ServerError(...reportedError(target, response, reply));
  const choice = firstChoice(reply);
  const message = choice?.['message'];
  if (message === undefined) throw invalidResponse(target, response, 'the reply holds no message');
  return piece(target, response, choice, message);
}

/** Reads to the end of the connection, past `[DONE]`, so that the server sees a client that took everything. */
async function* readPieces(target: Target, response: Response, deadline: Deadline): AsyncGenerator<Piece> {
  let done = false;
  // After its finish reason a reply is whole, whether `[DONE]` arrives or not.
  let finished = false;
  // Text came without a finish reason: some servers send one with each chunk.
  let hasOpenText = false;
  try {
    for await (const data of decodeSse(readBytes(response, deadline))) {
      // An event without data is a sign of life.
      if (done || data === '') continue;
      done = data === DONE;
      if (done) deadline.endWithin(CLOSE_MS);
      else {
        const next = readChunk(target, response, data);
        if (next.finishReason === undefined) hasOpenText ||= next.text !== '';
        else finished = true;
        if (finished && hasOpenText) deadline.endWithin(CLOSE_MS);
        yield next;
      }
      deadline.signal.throwIfAborted();
    }
  } catch (thrown) {
    const failure: unknown = deadline.signal.aborted
      ? deadline.signal.reason
      : brokenStream(response, thrown);
    if (done || (finished && isCut(failure))) return;
    throw failure;
  }
  if (!done && !finished) throw brokenStream(response, undefined);
}

/** Whether the connection failed, rather than the caller's patience or the server's generation. */
const isCut = (failure: unknown): boolean =>
  failure instanceof LLMClientError && ['stream_cut', 'timeout'].includes(failure.code);

/** One event's piece; its text is empty for a role, usage or reasoning chunk. */
function readChunk(target: Target, response: Response, data: string): Piece {
  const chunk = parse(data);
  if (hasError(chunk)) throw new BrokenStreamError(...reportedError(target, response, chunk));
  const choice = firstChoice(chunk);
  return piece(target, response, choice, choice?.['delta']);
}

const hasError = (reply: unknown): boolean => (record(reply)['error'] ?? undefined) !== undefined;

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    // JSON.parse repeats the text in its message, and that text may be the reply.
    throw new SyntaxError('an event of the stream is not JSON');
  }
}

type Choice = Readonly<Record<string, unknown>> | undefined;

function piece(target: Target, response: Response, choice: Choice, message: unknown): Piece {
  const text = readText(target, response, record(message)['content']);
  return { text, finishReason: readReason(target, response, choice?.['finish_reason']) };
}

/** Reasoning among the parts of a content is left out. */
function readText(target: Target, response: Response, content: unknown): string {
  try {
    return readContent(content, 'text').text;
  } catch {
    throw invalidResponse(target, response, 'the reply has content that is not text');
  }
}

/** @throws BrokenStreamError for an unknown one, such as `abort`: the reply may be half of one. */
function readReason(target: Target, response: Response, reason: unknown): string | undefined {
  const known = readFinishReason(reason);
  if (known !== 'unknown') return known;
  const told = oneLine(String(reason), target.apiKey);
  throw new BrokenStreamError(`the server ended the reply before it was whole: finish_reason ${told}`, {
    status: response.status,
    code: 'unknown_finish_reason',
    requestId: requestId(response),
  });
}

function firstChoice(reply: unknown): Choice {
  const choices = record(reply)['choices'];
  return Array.isArray(choices) && choices.length > 0 ? record(choices[0]) : undefined;
}

/** The arguments of an error class. */
function reportedError(
  target: Target,
  response: Response,
  reply: unknown,
): [message: string, info: ErrorInfo] {
  const { message, code } = describeErrorValue(reply);
  const info = {
    status: response.status,
    code: oneLine(code ?? 'error_event', target.apiKey),
    requestId: requestId(response),
  };
  return [oneLine(message ?? 'the server reported an error', target.apiKey), info];
}

function brokenStream(response: Response, cause: unknown): LLMClientError {
  if (cause instanceof LLMClientError) return cause;
  const info = { status: response.status, code: 'stream_cut', requestId: requestId(response), cause };
  return new BrokenStreamError('the stream ended before the reply was whole', info);
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
export const STUB_REPLY = '[stub] No language model was asked; this text stands in for its reply.';

/** Provider `stub`: says at once, without any network, that no model was asked. */
export const stub: Provider = { complete: completeStub, stream: streamStub };

async function completeStub(_target: Target, call: Call): Promise<Piece> {
  call.signal?.throwIfAborted();
  return { text: STUB_REPLY, finishReason: 'stop' };
}

/** Word by word, so that people trying out streaming see a stream. */
async function* streamStub(_target: Target, call: Call): AsyncGenerator<Piece> {
  for (const text of STUB_REPLY.split(/(?<= )/)) {
    call.signal?.throwIfAborted();
    yield { text };
  }
}
