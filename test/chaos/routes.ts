import type { Exchange } from './exchange.js';

/** A reply with status 200: whole by its contract, ended by an error, or cut. */
export type Reply =
  | { readonly end: 'whole'; readonly text: string }
  | { readonly end: 'error'; readonly text: string; readonly code: string }
  | { readonly end: 'cut'; readonly text: string }
  /** It ended, but violates its contract. */
  | { readonly end: 'malformed'; readonly text: string };

export type ReadReply = (exchange: Exchange) => Reply;

/** Plain text is whole with its last chunk; a trailer then says how the generation ended. */
export const textReply: ReadReply = ({ body, complete, trailers }) => {
  if (!complete) return { end: 'cut', text: body };
  return { end: trailers['x-finish-reason'] === undefined ? 'malformed' : 'whole', text: body };
};

/** One JSON document; `textOf` may throw on one of another kind. */
export function jsonReply(textOf: (body: unknown) => string): ReadReply {
  return ({ body, complete }) => {
    if (!complete) return { end: 'cut', text: '' };
    const text = attempt(() => textOf(JSON.parse(body)));
    return typeof text === 'string' ? { end: 'whole', text } : { end: 'malformed', text: body };
  };
}

/** Server-sent events are whole with `[DONE]`, or end with an error event. */
export function sseReply<Event extends object>(deltaOf: (event: Event) => string): ReadReply {
  return ({ body, complete }) => {
    let text = '';
    for (const data of payloads(body)) {
      if (data === '[DONE]') return { end: complete ? 'whole' : 'cut', text };
      const event = attempt(() => JSON.parse(data) as Event & Failing);
      if (event === undefined) return { end: 'malformed', text };
      if (event.error) return { end: 'error', text, code: event.error.code ?? 'unknown' };
      text += deltaOf(event);
    }
    return { end: complete ? 'malformed' : 'cut', text };
  };
}

/** Lines of JSON are whole with the line `done`, or end with a line `error`. */
export const ndjsonReply: ReadReply = ({ body, complete }) => {
  let text = '';
  for (const line of body.split('\n').slice(0, -1)) {
    const event = attempt(() => JSON.parse(line) as Line);
    if (event?.type === 'chunk') text += event.text;
    else if (event?.type === 'done') return { end: complete ? 'whole' : 'cut', text };
    else if (event?.type === 'error') return { end: 'error', text, code: event.code ?? event.message };
    else return { end: 'malformed', text };
  }
  return { end: complete ? 'malformed' : 'cut', text };
};

interface Failing {
  readonly error?: { readonly code?: string | null };
}

type Line =
  | { readonly type: 'chunk'; readonly text: string }
  | { readonly type: 'done' }
  | { readonly type: 'error'; readonly message: string; readonly code?: string };

/** The data of each whole event; comments are pings. */
function payloads(body: string): string[] {
  const events = body.split('\n\n').slice(0, -1);
  return events.filter((event) => event.startsWith('data: ')).map((event) => event.slice('data: '.length));
}

/** The code of an error in any dialect: OpenAI's object, or a word. */
export function errorCode(body: string): string {
  const error = attempt(() => (JSON.parse(body) as { error?: string | { code?: string } }).error);
  return (typeof error === 'string' ? error : error?.code) ?? 'unknown';
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** How a question reaches the model; replies are compared within a form. */
export type Form = 'helpful' | 'bare' | 'raw';

/** One way to send a question. */
export interface Route {
  readonly name: string;
  readonly path: string;
  readonly form: Form;
  /** The text comes in pieces. */
  readonly streams: boolean;
  /** The reply cannot be resumed on another worker: it may break, visibly. */
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
    // Its defaults are meant for a temperature above 0.
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

/** Log probabilities belong to the tokens that were drawn, so no other worker can resume such a reply. */
export const BOUND_ROUTE: Route = {
  name: '/v1/chat/completions, log probabilities',
  path: '/v1/chat/completions',
  form: 'helpful',
  streams: true,
  bound: true,
  body: (question, max) => ({ ...helpful(question), ...sampled(max), stream: true, logprobs: true }),
  read: sseReply(chatDelta),
};

/** The route that records the undisturbed replies of a form. */
export const REFERENCE_ROUTES: Readonly<Record<Form, Route>> = {
  helpful: named('/v1/chat/completions'),
  bare: named('/execute'),
  raw: named('/v1/completions'),
};

export const STREAMED_ROUTES = ROUTES.filter((route) => route.streams);

function named(name: string): Route {
  return ROUTES.find((route) => route.name === name)!;
}
