import type { Call } from './exchange.js';

/** Requests that must be refused, each with the status its contract names. A small set: the worst are another run's. */
export interface BadRequest {
  readonly call: Call;
  readonly status: number;
}

const post = (path: string, body: string, headers: Readonly<Record<string, string>> = {}): Call => ({
  method: 'POST',
  path,
  body,
  headers,
});

const HELLO = '{"prompt":"Hello"}';

export const BAD_REQUESTS: readonly BadRequest[] = [
  { status: 400, call: post('/chat', '{"prompt":"Hello"') },
  { status: 400, call: post('/chat', '{"prompt":""}') },
  { status: 400, call: post('/chat', '{"prompt":["Hello"]}') },
  { status: 400, call: post('/chat', '{"prompt":"Hello","temperature":-1}') },
  { status: 400, call: post('/chat', '{"prompt":"Hello","temperature":1e999}') },
  { status: 400, call: post('/v1/chat/completions', '{"messages":[]}') },
  { status: 400, call: post('/v1/completions', '{"prompt":"a\\u0000b"}') },
  { status: 400, call: post('/llm', '{"task":"no_such_task","input":{}}') },
  { status: 400, call: post('/execute', '[]') },
  { status: 400, call: post('/complete', 'null') },
  { status: 404, call: post('/no/such/route', HELLO) },
  { status: 404, call: post('/chat', '{"prompt":"Hello","model":"../secrets"}') },
  { status: 401, call: post('/chat', HELLO, { 'X-API-Key': 'wrong' }) },
  { status: 415, call: post('/chat', HELLO, { 'Content-Type': 'text/plain' }) },
];
