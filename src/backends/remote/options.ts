import type { ModelTask } from '../../contract.js';
import type { RetryLimits } from './retry-policy.js';

/** Max times, milliseconds. Only `totalMs` includes the time that a slow client takes to read. */
export interface RemoteTimeouts {
  /** To connect, TLS included. */
  readonly connectMs: number;
  /** Without progress before the first token, such as waiting in the remote server's queue or prefill. */
  readonly firstTokenMs: number;
  /** Without a token after the first one. */
  readonly tokenMs: number;
  /** For the whole reply, including all attempts and the waits between them. */
  readonly totalMs: number;
}

/**
 * `llama`: the server accepts llama.cpp's fields besides OpenAI's: llama-server, another LMServ, and servers that
 * ignore unknown fields (vLLM, Ollama). `openai`: the server may refuse fields that are not OpenAI's, so only
 * those are sent (OpenAI, Anthropic's compatible endpoint, OpenRouter).
 */
export type RemoteKind = 'llama' | 'openai';

/** The name under which the token limit is sent; OpenAI's reasoning models accept only the second. */
export type MaxTokensField = 'max_tokens' | 'max_completion_tokens';

export interface RemoteOptions {
  /** The backend's name in logs and errors. */
  readonly name: string;
  /** Of the server. `/v1` is added unless there is a path, as in `https://openrouter.ai/api/v1`. */
  readonly baseUrl: string;
  /** The model's name on the remote server. */
  readonly model: string;
  readonly kind: RemoteKind;
  /** Default: `chat`. */
  readonly task?: ModelTask | undefined;
  readonly maxTokensField: MaxTokensField;
  /** Sent as `Authorization: Bearer`; undefined or empty sends none. */
  readonly apiKey?: string | undefined;
  /** The environment variable that should hold the key; if set, each request without a key fails. */
  readonly apiKeyEnv?: string | undefined;
  /** Address of an HTTP proxy to use; the proxy variables of the environment are ignored. */
  readonly proxy?: string | undefined;
  readonly timeouts: RemoteTimeouts;
  readonly retries: RetryLimits;
}
