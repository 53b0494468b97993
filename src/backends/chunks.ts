import { randomUUID } from 'node:crypto';
import type { FinishReason, GenerateEvent, Json, JsonObject, ToolCallDelta, Usage } from '../contract.js';

/** Tool calls in one chunk. */
const MAX_CALLS = 128;

/**
 * Reads OpenAI's streamed chunks (`/v1/chat/completions` and `/v1/completions`), as llama.cpp and every compatible
 * server send them, into events. One reader serves one reply with one choice.
 */
export class ChunkReader {
  /** Seen a finish reason: what comes later is usage only. */
  finished = false;
  #prefillSeen = false;

  /** The events one chunk stands for, in order; often one, sometimes none. */
  read(chunk: Readonly<Record<string, unknown>>): GenerateEvent[] {
    const events: GenerateEvent[] = [];
    this.#readPrefill(chunk.prompt_progress, events);
    const choice = (chunk.choices as Choice[] | undefined)?.[0];
    if (choice) this.#readChoice(choice, events);
    if (chunk.usage) events.push({ type: 'usage', usage: readUsage(chunk.usage) });
    return events;
  }

  #readPrefill(progress: unknown, events: GenerateEvent[]): void {
    if (this.#prefillSeen || !progress) return;
    this.#prefillSeen = true;
    events.push({ type: 'prefill', promptTokens: (progress as { total: number }).total });
  }

  #readChoice(choice: Choice, events: GenerateEvent[]): void {
    const delta = choice.delta;
    const text = delta?.content ?? choice.text;
    const logprobs = choice.logprobs?.content;
    if (text || logprobs) {
      events.push({ type: 'text', index: 0, text: text ?? '', ...(logprobs ? { logprobs } : {}) });
    }
    const reasoning = delta?.reasoning_content ?? delta?.reasoning;
    if (reasoning) events.push({ type: 'reasoning', index: 0, text: reasoning });
    const calls = delta?.tool_calls ?? [];
    if (calls.length > MAX_CALLS) throw new RangeError('a chunk with too many tool calls');
    for (const call of calls) {
      events.push({ type: 'tool_call', index: 0, call: readToolCall(call) });
    }
    if (choice.finish_reason) {
      this.finished = true;
      events.push({ type: 'finish', index: 0, reason: readReason(choice.finish_reason) });
    }
  }
}

interface Choice {
  delta?: {
    content?: string | null;
    reasoning_content?: string | null;
    reasoning?: string | null;
    tool_calls?: RawToolCall[];
  };
  text?: string;
  logprobs?: { content?: JsonObject[] | null } | null;
  finish_reason?: string | null;
}

interface RawToolCall {
  index?: number;
  id?: string;
  function?: { name?: string | null; arguments?: Json };
}

interface RawUsage {
  prompt_tokens?: number;
  completion_tokens?: number;
  prompt_tokens_details?: { cached_tokens?: number } | null;
}

function readToolCall(raw: RawToolCall): ToolCallDelta {
  const text = raw.function?.arguments;
  const name = raw.function?.name;
  // Some templates' parsers give a call no id, and clients need one to answer it.
  const id = raw.id || (name ? `call_${randomUUID().replaceAll('-', '')}` : undefined);
  return {
    index: raw.index ?? 0,
    ...(id ? { id } : {}),
    ...(name ? { name } : {}),
    ...(typeof text === 'string' ? { arguments: text } : {}),
  };
}

function readReason(reason: string): FinishReason {
  if (reason === 'length' || reason === 'tool_calls' || reason === 'content_filter') return reason;
  // Older servers say function_call; whatever else ends a reply in good order is a stop.
  return reason === 'function_call' ? 'tool_calls' : 'stop';
}

function readUsage(raw: RawUsage): Usage {
  return {
    promptTokens: raw.prompt_tokens ?? 0,
    completionTokens: raw.completion_tokens ?? 0,
    cachedTokens: raw.prompt_tokens_details?.cached_tokens ?? 0,
  };
}
