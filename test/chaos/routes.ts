import { jsonReply, ndjsonReply, sseReply, textReply, type ReadReply } from './reply.js';

/** How a question reaches the model; replies are compared within a form. */
export type Form = 'helpful' | 'bare' | 'raw';

/** One way to ask. */
export interface Route {
  readonly name: string;
  readonly path: string;
  readonly form: Form;
  /** The text comes in pieces. */
  readonly streams: boolean;
  /** The reply cannot be gone on with on another worker: it may be broken, visibly. */
  readonly bound?: boolean;
  readonly body: (question: string, maxTokens: number) => object;
  readonly read: ReadReply;
}

const helpful = (question: string) => ({
  messages: [
    { role: 'system', content: 'You are a helpful assistant.' },
    { role: 'user', content: question },
  ],
});

const sampled = (maxTokens: number) => ({ temperature: 0, max_tokens: maxTokens });

const raw = (question: string) => ({ prompt: `${question}\n` });

const chatDelta = (event: ChatChunk) => event.choices?.[0]?.delta?.content ?? '';
const completionDelta = (event: CompletionChunk) => event.choices?.[0]?.text ?? '';

interface ChatChunk {
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
}

interface CompletionChunk {
  readonly choices?: readonly { readonly text?: string }[];
}

interface ChatCompletion {
  readonly choices: readonly { readonly message: { readonly content: string } }[];
}

/** Every dialect of the server, streamed and whole. */
export const ROUTES: readonly Route[] = [
  {
    name: '/chat',
    path: '/chat',
    form: 'helpful',
    streams: true,
    // Its own defaults are meant for a temperature above 0.
    body: (question, max) => ({ prompt: question, ...sampled(max), top_p: 1, repeat_penalty: 1 }),
    read: textReply,
  },
  {
    name: '/v1/chat/completions, streamed',
    path: '/v1/chat/completions',
    form: 'helpful',
    streams: true,
    body: (question, max) => ({
      ...helpful(question),
      ...sampled(max),
      stream: true,
      stream_options: { include_usage: true },
    }),
    read: sseReply(chatDelta),
  },
  {
    name: '/v1/chat/completions',
    path: '/v1/chat/completions',
    form: 'helpful',
    streams: false,
    body: (question, max) => ({ ...helpful(question), ...sampled(max) }),
    read: jsonReply((body) => (body as ChatCompletion).choices[0]!.message.content),
  },
  {
    name: '/v1/completions, streamed',
    path: '/v1/completions',
    form: 'raw',
    streams: true,
    body: (question, max) => ({ ...raw(question), ...sampled(max), stream: true }),
    read: sseReply(completionDelta),
  },
  {
    name: '/v1/completions',
    path: '/v1/completions',
    form: 'raw',
    streams: false,
    body: (question, max) => ({ ...raw(question), ...sampled(max) }),
    read: jsonReply((body) => (body as { choices: { text: string }[] }).choices[0]!.text),
  },
  {
    name: '/llm',
    path: '/llm',
    form: 'raw',
    streams: false,
    body: (question, max) => ({ ...raw(question), ...sampled(max) }),
    read: jsonReply((body) => (body as { completion: string }).completion),
  },
  {
    name: '/complete',
    path: '/complete',
    form: 'helpful',
    streams: false,
    body: (question, max) => ({
      ...helpful(question),
      ...sampled(max),
      model: 'default',
      tenant_id: 'chaos',
    }),
    read: jsonReply((body) => (body as { content: string }).content),
  },
  {
    name: '/complete/stream',
    path: '/complete/stream',
    form: 'helpful',
    streams: true,
    body: (question, max) => ({
      ...helpful(question),
      ...sampled(max),
      model: 'default',
      tenant_id: 'chaos',
    }),
    read: ndjsonReply,
  },
  {
    name: '/execute',
    path: '/execute',
    form: 'bare',
    streams: false,
    body: (question, max) => ({ prompt: question, config: sampled(max) }),
    read: jsonReply((body) => (body as { content: string }).content),
  },
];

/** Log probabilities belong to the tokens that were drawn, so no other worker can go on with such a reply. */
export const BOUND_ROUTE: Route = {
  name: '/v1/chat/completions, log probabilities',
  path: '/v1/chat/completions',
  form: 'helpful',
  streams: true,
  bound: true,
  body: (question, max) => ({ ...helpful(question), ...sampled(max), stream: true, logprobs: true }),
  read: sseReply(chatDelta),
};

/** The way by which the undisturbed replies of a form are recorded. */
export const REFERENCE_ROUTES: Readonly<Record<Form, Route>> = {
  helpful: named('/v1/chat/completions'),
  bare: named('/execute'),
  raw: named('/v1/completions'),
};

export const STREAMED_ROUTES = ROUTES.filter((route) => route.streams);

function named(name: string): Route {
  return ROUTES.find((route) => route.name === name)!;
}
