import { chat } from '../dialects/chat.js';
import { complete, completeStream } from '../dialects/konstruct.js';
import type { Dialect } from '../dialects/shared/dialect.js';
import { execute, type ExecuteOptions } from '../dialects/llm-connect/execute.js';
import { llm } from '../dialects/awa/llm.js';
import { chatCompletions } from '../dialects/openai/chat-completions.js';
import { completions } from '../dialects/openai/completions.js';
import { responses } from '../dialects/responses/responses.js';

/** A route that generates: POST, one JSON body in, a dialect's reply out. */
export interface Route {
  readonly path: string;
  readonly dialect: Dialect;
}

/** Options of the configurable dialects. */
export interface RouteOptions {
  readonly execute?: ExecuteOptions;
}

export const routes = (options: RouteOptions = {}): readonly Route[] => [
  { path: '/chat', dialect: chat },
  { path: '/llm', dialect: llm },
  { path: '/v1/chat/completions', dialect: chatCompletions },
  { path: '/v1/completions', dialect: completions },
  { path: '/v1/responses', dialect: responses },
  { path: '/complete', dialect: complete },
  { path: '/complete/stream', dialect: completeStream },
  { path: '/execute', dialect: execute(options.execute) },
];

/** The routes without profiles and routing policy. */
export const ROUTES = routes();
