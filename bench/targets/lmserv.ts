import type { BenchServer } from '../server.js';
import { chatCompletion, plainChat, type Target } from './target.js';

const COMPLETIONS = '/v1/chat/completions';

/** The server is stopped by whoever started it. */
const stop = async (): Promise<void> => undefined;

/** The endpoint of LMServ's own worker, with nothing in front: what all others are compared with. */
export const direct = (server: BenchServer): Target => ({
  name: 'direct',
  url: server.workerUrl + COMPLETIONS,
  headers: { 'content-type': 'application/json' },
  format: 'sse',
  pids: [],
  body: chatCompletion,
  stop,
});

export const lmservOpenai = (server: BenchServer): Target => ({
  name: 'lmserv-openai',
  url: server.url + COMPLETIONS,
  headers: server.headers,
  format: 'sse',
  pids: [server.pid],
  body: chatCompletion,
  stop,
});

export const lmservChat = (server: BenchServer): Target => ({
  name: 'lmserv-chat',
  url: `${server.url}/chat`,
  headers: server.headers,
  format: 'text',
  pids: [server.pid],
  body: plainChat,
  stop,
});
