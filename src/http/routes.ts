import type { Request } from 'express';
import { chat as ollamaChat } from '../dialects/ollama/chat.js';
import { embed as ollamaEmbed, embeddings as ollamaEmbeddings } from '../dialects/ollama/embed.js';
import { generate as ollamaGenerate } from '../dialects/ollama/generate.js';
import { countTokens, messages } from '../dialects/anthropic/messages.js';
import { chat } from '../dialects/chat.js';
import { complete, completeStream } from '../dialects/konstruct.js';
import type { Dialect } from '../dialects/shared/dialect.js';
import { execute, type ExecuteOptions } from '../dialects/llm-connect/execute.js';
import { llm } from '../dialects/awa/llm.js';
import { chatCompletions } from '../dialects/openai/chat-completions.js';
import { completions } from '../dialects/openai/completions.js';
import { embeddings } from '../dialects/openai/embeddings.js';
import { rerank } from '../dialects/rerank.js';
import { responses } from '../dialects/responses/responses.js';
import { detokenize, tokenize } from '../dialects/tokens.js';

/** A route that a model serves: POST, one JSON body in, a dialect's reply out. */
export interface Route {
  readonly path: string;
  readonly dialect: Dialect;
  /** Which errors have the dialect's form even if they are raised before, or without, a route; all others have OpenAI's. */
  readonly errors?: ErrorScope;
  /** Bodies are JSON whatever their type says, unless a web page sent them: curl names another one by default. */
  readonly anyContentType?: boolean;
}

/** Requests to a path and all below it, and those with a header that only the dialect's clients send. */
export interface ErrorScope {
  readonly path: string;
  readonly header?: string;
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
  { path: '/v1/embeddings', dialect: embeddings },
  { path: '/v1/rerank', dialect: rerank },
  { path: '/tokenize', dialect: tokenize },
  { path: '/detokenize', dialect: detokenize },
  {
    path: '/v1/messages',
    dialect: messages,
    errors: { path: '/v1/messages', header: 'anthropic-version' },
  },
  { path: '/v1/messages/count_tokens', dialect: countTokens },
  { path: '/api/chat', dialect: ollamaChat, errors: { path: '/api' }, anyContentType: true },
  { path: '/api/generate', dialect: ollamaGenerate, anyContentType: true },
  { path: '/api/embed', dialect: ollamaEmbed, anyContentType: true },
  { path: '/api/embeddings', dialect: ollamaEmbeddings, anyContentType: true },
  { path: '/complete', dialect: complete },
  { path: '/complete/stream', dialect: completeStream },
  { path: '/execute', dialect: execute(options.execute) },
];

/** The routes without profiles and routing policy. */
export const ROUTES = routes();

/** The dialect of errors that are raised before, or without, a route. */
export function dialectOf({ path, headers }: Request, among: readonly Route[]): Dialect | undefined {
  const asked = `${path.toLowerCase()}/`;
  return among.find(
    ({ errors }) =>
      errors && (asked.startsWith(`${errors.path}/`) || (errors.header && headers[errors.header])),
  )?.dialect;
}
