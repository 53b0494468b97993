import type { Exchange } from './exchange.js';

/** What a reply with status 200 came to: whole as its contract has it, ended by a word of failure, or cut off. */
export type Reply =
  | { readonly end: 'whole'; readonly text: string }
  | { readonly end: 'error'; readonly text: string; readonly code: string }
  | { readonly end: 'cut'; readonly text: string }
  /** It ended, but not as its contract says. */
  | { readonly end: 'malformed'; readonly text: string };

export type ReadReply = (exchange: Exchange) => Reply;

/** Plain text is whole with its last chunk, and says then in a trailer how the generation ended. */
export const textReply: ReadReply = ({ body, complete, trailers }) => {
  if (!complete) return { end: 'cut', text: body };
  return { end: trailers['x-finish-reason'] === undefined ? 'malformed' : 'whole', text: body };
};

/** One JSON document; `textOf` may throw on one that is none of its kind. */
export function jsonReply(textOf: (body: unknown) => string): ReadReply {
  return ({ body, complete }) => {
    if (!complete) return { end: 'cut', text: '' };
    const text = attempt(() => textOf(JSON.parse(body)));
    return typeof text === 'string' ? { end: 'whole', text } : { end: 'malformed', text: body };
  };
}

/** Server-sent events are whole with `[DONE]`; an error event comes in its place. */
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

/** Lines of JSON are whole with the line `done`; a line `error` comes in its place. */
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

/** An error's code in any dialect: OpenAI's object, or a word. */
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
