import { pino } from 'pino';
import { readMemory } from '../../src/observe/process-memory.js';
import { json } from '../support/exchange.js';
import { LiveServer } from '../support/live.js';
import { CHAT, post } from './requests.js';

/** Beginnings of conversations that workers hold, on real llama.cpp. */

let live: LiveServer;

afterEach(() => live.stop());

type Message = { role: string; content: string };

/** About 300 tokens that no other conversation begins with. */
const opening = (name: string): Message => ({
  role: 'user',
  content: `My name is ${name}. ${`${name} likes to talk about the sea. `.repeat(30)}`,
});

/** One turn: the reply is added to the conversation; the tokens of its prompt, and how many were cached. */
async function turn(messages: Message[], said?: string): Promise<{ prompt: number; cached: number }> {
  if (said !== undefined) messages.push({ role: 'user', content: said });
  const { choices, usage } = json(await post(live, CHAT, { messages, temperature: 0, max_tokens: 8 }));
  messages.push({ role: 'assistant', content: choices[0].message.content });
  return { prompt: usage.prompt_tokens, cached: usage.prompt_tokens_details.cached_tokens };
}

/** The workers of the requests so far, in order. */
const workersOf = () => live.logged('request').flatMap(({ worker }) => worker ?? []);

test("each conversation's turns go to the worker that has it cached, and only the new part is evaluated", async () => {
  live = await new LiveServer({ LLM_WORKERS: '2', LLM_CTX_SIZE: '1024' }).start();
  await live.untilReady(({ workers }) => workers.idle === 2);
  const [anna, ben] = [[opening('Anna')], [opening('Ben')]];
  await turn(anna);
  await turn(ben);
  for (let n = 0; n < 3; n += 1) {
    for (const conversation of [ben, anna]) {
      const { prompt, cached } = await turn(conversation, 'Go on.');
      expect(cached).toBeGreaterThan(prompt * 0.9);
    }
  }
  await live.until('request', () => workersOf().length === 8);
  const [first, second, ...later] = workersOf();
  expect(first).not.toBe(second);
  expect(later).toEqual([second, first, second, first, second, first]);
});

test('with PROMPT_CACHE=off a repeated request finds nothing in the cache', async () => {
  live = await new LiveServer({ PROMPT_CACHE: 'off', LLM_CTX_SIZE: '1024' }).start();
  expect((await turn([opening('Anna')])).cached).toBe(0);
  expect((await turn([opening('Anna')])).cached).toBe(0);
});

test('conversations that alternate on one slot are kept in the prompt cache, within CACHE_RAM_MB', async () => {
  live = await new LiveServer({ CACHE_RAM_MB: '16', LLM_CTX_SIZE: '1024' }).start();
  const names = Array.from({ length: 60 }, (_, n) => `Person${n}`);
  const conversations = names.map((name) => [opening(name)]);
  await turn(conversations[0]!);
  await turn(conversations[1]!);
  const back = await turn(conversations[0]!, 'Go on.');
  expect(back.cached).toBeGreaterThan(back.prompt * 0.9);
  const [pid] = live.workerPids();
  const before = readMemory(pid!)!.anonymous;
  for (const conversation of conversations) await turn(conversation);
  // Sixty of them would be several times the limit; llama.cpp's own working memory is within the other 16 MiB.
  expect(readMemory(pid!)!.anonymous - before).toBeLessThan(32 * 2 ** 20);
  expect(workersOf().every((worker) => worker === workersOf()[0])).toBe(true);
});

/** About 60 tokens each. */
const tools = ['read', 'write', 'search'].map((name) => ({
  type: 'function',
  function: { name, description: `${name} ${'is of use here. '.repeat(12)}`, parameters: { type: 'object' } },
}));

test('a conversation whose tools come in another order is found in the cache', async () => {
  live = await new LiveServer({ LLM_CTX_SIZE: '2048' }).start();
  const asked = { messages: [opening('Anna')], max_tokens: 8, temperature: 0 };
  await post(live, CHAT, { ...asked, tools });
  const { usage } = json(await post(live, CHAT, { ...asked, tools: tools.toReversed() }));
  expect(usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(usage.prompt_tokens * 0.9);
});

test('the debug log says where a prompt departs from an earlier one', async () => {
  const logger = pino({ level: 'debug' }, { write: (line: string) => live.add(line) });
  live = new LiveServer({ LLM_CTX_SIZE: '2048' }, { logger });
  await live.start();
  const system = (date: string) => ({ role: 'system', content: `${'Be kind. '.repeat(20)}It is ${date}.` });
  for (const date of ['Monday', 'Tuesday'])
    await post(live, CHAT, { messages: [system(date), opening('Anna')], tools, max_tokens: 8 });
  const [first, second] = live.logged('generation_started');
  expect(first).not.toHaveProperty('departure');
  const { at, in: places } = second!.departure as { at: number; in: string[] };
  expect(places).toContain('messages[0]');
  // The last block of 128 characters that is the same ends before the name of the day.
  const text = JSON.stringify(tools).length + 180;
  expect(at).toBeGreaterThan(text - 160);
  expect(at).toBeLessThan(text + 20);
});
