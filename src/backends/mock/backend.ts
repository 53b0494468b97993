import type {
  BackendStatus,
  CustomBackend,
  FinishReason,
  GenerateContext,
  GenerateRequest,
  Json,
  JsonObject,
  ReplyEvent,
} from '../../contract.js';
import { minimalJson } from './minimal-json.js';
import { withoutWorkers } from '../status.js';
import { isObject } from '../../wire/json-shape.js';

const ANSWER = 'This is the mock backend of LMServ: no model was asked.';

/** Average characters of a prompt per token. */
const CHARACTERS_A_TOKEN = 4;

interface Answer {
  readonly pieces: readonly string[];
  /** The tool to call; the pieces are then its arguments. */
  readonly tool?: string;
}

/**
 * Replies without a model, always with the same text and never with the request's: for trying out clients, and as
 * `--provider mock`. Serves any number of requests at once.
 */
export class MockBackend implements CustomBackend {
  #ready = false;

  constructor(readonly name = 'mock') {}

  start(): void {
    this.#ready = true;
  }

  stop(): Promise<void> {
    this.#ready = false;
    return Promise.resolve();
  }

  status(): BackendStatus {
    return withoutWorkers(this.#ready);
  }

  /** Each piece is a token of at most eight characters. @throws the signal's reason once it has aborted. */
  async *generate({ body }: GenerateRequest, { signal }: GenerateContext): AsyncGenerator<ReplyEvent> {
    const promptTokens = countTokens(body.prompt ?? body.messages ?? '');
    const { pieces, tool } = answerTo(body);
    const sent = pieces.slice(0, maxTokensOf(body));
    signal.throwIfAborted();
    yield { type: 'prefill', promptTokens };
    for (const [position, piece] of sent.entries()) {
      signal.throwIfAborted();
      yield tool === undefined ? { type: 'text', index: 0, text: piece } : toolDelta(tool, piece, position);
    }
    signal.throwIfAborted();
    yield { type: 'finish', index: 0, reason: reasonOf(sent.length < pieces.length, tool) };
    yield { type: 'usage', usage: { promptTokens, completionTokens: sent.length, cachedTokens: 0 } };
  }
}

function answerTo(body: JsonObject): Answer {
  const call = requiredTool(body);
  if (call)
    return { tool: call.name as string, pieces: split(JSON.stringify(minimalJson(call.parameters ?? {}))) };
  const schema = schemaOf(body);
  return { pieces: split(schema === undefined ? ANSWER : JSON.stringify(minimalJson(schema))) };
}

/** The function that must be called: the named one, otherwise the first. */
function requiredTool({ tools, tool_choice: choice }: JsonObject): JsonObject | undefined {
  if (!Array.isArray(tools) || choice === undefined || choice === 'auto' || choice === 'none')
    return undefined;
  const functions = tools.map((tool) => (tool as JsonObject).function as JsonObject);
  const named = typeof choice === 'object' ? ((choice as JsonObject).function as JsonObject).name : undefined;
  return named === undefined ? functions[0] : functions.find(({ name }) => name === named);
}

function schemaOf({ response_format: format }: JsonObject): Json | undefined {
  if (!isObject(format)) return undefined;
  if (format.type === 'json_object') return format.schema ?? {};
  return (format.json_schema as JsonObject | undefined)?.schema;
}

/** Splits into words, each with the space before it; long words are split further. */
function split(text: string): string[] {
  return text.match(/\s*\S{1,8}/g) ?? [];
}

function toolDelta(name: string, piece: string, position: number): ReplyEvent {
  const opening = position === 0 ? { id: 'call_mock', name } : {};
  return { type: 'tool_call', index: 0, call: { index: 0, ...opening, arguments: piece } };
}

function reasonOf(cut: boolean, tool: string | undefined): FinishReason {
  if (cut) return 'length';
  return tool === undefined ? 'stop' : 'tool_calls';
}

function maxTokensOf({ max_tokens: limit }: JsonObject): number {
  return typeof limit === 'number' ? limit : Infinity;
}

/** An estimate, because there is no tokenizer. */
function countTokens(prompt: Json): number {
  const { length } = typeof prompt === 'string' ? prompt : JSON.stringify(prompt);
  return Math.max(1, Math.ceil(length / CHARACTERS_A_TOKEN));
}
