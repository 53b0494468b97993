import { Exchange, type Ask, type Reply } from '../support/exchange.js';
import { LIVE_KEY } from '../support/live.js';

/** Requests as the live tests send them, to a server in this process or in one of its own. */

export const KEY = { 'X-API-Key': LIVE_KEY };
export const CHAT = '/v1/chat/completions';
/** A question whose answer the demo model knows. */
export const DISH = 'Name a famous Peruvian dish';
export const user = (content: unknown) => ({ messages: [{ role: 'user', content }] });
export const { messages } = user(DISH);
/** A streamed chat that runs until it is stopped, far longer than a test needs it. */
export const ENDLESS_CHAT = { messages, ignore_eos: true, max_tokens: 3_000, stream: true };

type Body = Ask['body'];
type Headers = Record<string, string>;

/** Sends a POST with the key, by default. */
export const send = (server: { url: string }, path: string, body: Body, headers: Headers = KEY): Exchange =>
  new Exchange(server.url + path, { headers, body });

/** Sends a POST and reads its whole reply. */
export const post = (...request: Parameters<typeof send>): Promise<Reply> => send(...request).reply;

/** Sends a POST and resolves once the first of its reply has arrived. */
export async function begun(...request: Parameters<typeof send>): Promise<Exchange> {
  const running = send(...request);
  await running.firstChunk();
  return running;
}

/** Kills all workers, as the kernel would. */
export function killWorkers(server: { workerPids(): number[] }): void {
  for (const pid of server.workerPids()) process.kill(pid, 'SIGKILL');
}
