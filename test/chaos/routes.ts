import type { Exchange } from './exchange.js';

/** A reply with status 200: whole by its contract, ended by an error, or cut. */
export type Reply =
  | { readonly end: 'whole'; readonly text: string }
  | { readonly end: 'error'; readonly text: string; readonly code: string }
  | { readonly end: 'cut'; readonly text: string }
  /** It ended, but violates its contract. */
  | { readonly end: 'malformed'; readonly text: string };

type ReadReply = (exchange: Exchange) => Reply;

/** Plain text is whole with its last chunk; a trailer then says how the generation ended. */
const textReply: ReadReply = ({ body, complete, trailers }) => {
  if (!complete) return { end: 'cut', text: body };
  return { end: trailers['x-finish-reason'] === undefined ? 'malformed' : 'whole', text: body };
};

/** One JSON document; `textOf` may throw on one of another kind. */
function jsonReply(textOf: (body: any) => string): ReadReply {
  return ({ body, complete }) => {
    if (!complete) return { end: 'cut', text: '' };
    const text = attempt(() => textOf(JSON.parse(body)));
    return typeof text === 'string' ? { end: 'whole', text } : { end: 'malformed', text: body };
  };
}

/** Server-sent events are whole with `[DONE]`, or end with an error event. */
function sseReply(deltaOf: (event: any) => string): ReadReply {
  return ({ body, complete }) => {
    let text = '';
    for (const data of payloads(body)) {
      if (data === '[DONE]') return { end: complete ? 'whole' : 'cut', text };
      const event = attempt(() => JSON.parse(data));
      if (event === undefined) return { end: 'malformed', text };
      if (event.error) return { end: 'error', text, code: event.error.code ?? 'unknown' };
      text += deltaOf(event);
    }
    return { end: complete ? 'malformed' : 'cut', text };
  };
}

/** Lines of JSON are whole with the line `done`, or end with a line `error`. */
const ndjsonReply: ReadReply = ({ body, complete }) => {
  let text = '';
  for (const line of body.split('\n').slice(0, -1)) {
    const event = attempt(() => JSON.parse(line));
    if (event?.type === 'chunk') text += event.text;
    else if (event?.type === 'done') return { end: complete ? 'whole' : 'cut', text };
    else if (event?.type === 'error') return { end: 'error', text, code: event.code ?? event.message };
    else return { end: 'malformed', text };
  }
  return { end: complete ? 'malformed' : 'cut', text };
};

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

type MakeBody = Route['body'];

const prompt = (question: string) => ({ prompt: question });
const raw = (question: string) => ({ prompt: `${question}\n` });
const helpful = (question: string) => ({
  messages: [
    { role: 'system', content: 'You are a helpful assistant.' },
    { role: 'user', content: question },
  ],
});

const sampled = (maxTokens: number) => ({ temperature: 0, max_tokens: maxTokens });

const asking =
  (form: (question: string) => object, fields: object = {}): MakeBody =>
  (question, maxTokens) => ({ ...form(question), ...sampled(maxTokens), ...fields });

/** The path of a route is the first part of its name. */
const route = (name: string, form: Form, streams: boolean, body: MakeBody, read: ReadReply): Route => ({
  name,
  path: name.split(',')[0]!,
  form,
  streams,
  body,
  read,
});

const chatEvents = sseReply((event) => event.choices?.[0]?.delta?.content ?? '');
const completionEvents = sseReply((event) => event.choices?.[0]?.text ?? '');
const messageReply = jsonReply((body) => body.choices[0].message.content);
const textsReply = jsonReply((body) => body.choices[0].text);
const completionReply = jsonReply((body) => body.completion);
const contentReply = jsonReply((body) => body.content);
const configured: MakeBody = (question, max) => ({ prompt: question, config: sampled(max) });
const AWA = { model: 'default', tenant_id: 'chaos' };
const STREAM = { stream: true, stream_options: { include_usage: true } };

/** Every dialect of the server, streamed and whole. */
export const ROUTES: readonly Route[] = [
  // Its defaults are meant for a temperature above 0.
  route('/chat', 'helpful', true, asking(prompt, { top_p: 1, repeat_penalty: 1 }), textReply),
  route('/v1/chat/completions, streamed', 'helpful', true, asking(helpful, STREAM), chatEvents),
  route('/v1/chat/completions', 'helpful', false, asking(helpful), messageReply),
  route('/v1/completions, streamed', 'raw', true, asking(raw, { stream: true }), completionEvents),
  route('/v1/completions', 'raw', false, asking(raw), textsReply),
  route('/llm', 'raw', false, asking(raw), completionReply),
  route('/complete', 'helpful', false, asking(helpful, AWA), contentReply),
  route('/complete/stream', 'helpful', true, asking(helpful, AWA), ndjsonReply),
  route('/execute', 'bare', false, configured, contentReply),
];

/** Log probabilities belong to the tokens that were drawn, so no other worker can resume such a reply. */
const BOUND = asking(helpful, { stream: true, logprobs: true });
export const BOUND_ROUTE: Route = {
  ...route('/v1/chat/completions, log probabilities', 'helpful', true, BOUND, chatEvents),
  bound: true,
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
