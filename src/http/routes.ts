import { chat } from '../dialects/chat.js';
import type { Dialect } from '../dialects/dialect.js';
import { llm } from '../dialects/llm.js';
import { chatCompletions } from '../dialects/openai/chat-completions.js';
import { completions } from '../dialects/openai/completions.js';

/** A route that generates: POST, one JSON body in, a dialect's reply out. */
export interface Route {
  readonly path: string;
  readonly dialect: Dialect;
}

export const ROUTES: readonly Route[] = [
  { path: '/chat', dialect: chat },
  { path: '/llm', dialect: llm },
  { path: '/v1/chat/completions', dialect: chatCompletions },
  { path: '/v1/completions', dialect: completions },
];
