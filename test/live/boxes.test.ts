import { chunkTexts, get, json, lines, sseData, type Exchange, type Reply } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { LIVE_KEY, LiveProcess, LiveServer, writeConfig } from '../support/live.js';
import { begun, CHAT, DISH, ENDLESS_CHAT, messages, send } from './requests.js';

/** Two LMServ boxes, each a process with real workers, behind a third. One is killed under load. */

const REQUESTS = 60;
const prompt = DISH;
const common = { model: 'both', temperature: 0 };
const endless = { ...ENDLESS_CHAT, ...common, max_tokens: 3500 };

interface Kind {
  readonly path: string;
  readonly body: object;
  /** The whole answer, or undefined where the reply says that it is incomplete. Throws for a reply that hides it. */
  readonly answer: (reply: Reply) => string | undefined;
}

const KINDS: Kind[] = [
  {
    path: '/chat',
    body: { ...common, prompt },
    answer: (reply) => (reply.cut || reply.status !== 200 ? undefined : reply.text),
  },
  {
    path: '/complete',
    body: { ...common, messages },
    answer: (reply) => (reply.status === 503 ? undefined : json(reply).content),
  },
  {
    path: '/complete/stream',
    body: { ...common, messages },
    answer: (reply) => {
      const { type } = lines(reply).at(-1);
      expect(['done', 'error']).toContain(type);
      return type === 'error' ? undefined : chunkTexts(reply).join('');
    },
  },
  {
    path: CHAT,
    body: { ...common, messages, stream: true },
    answer: (reply) => {
      if (reply.status !== 200) return undefined;
      const chunks = sseData(reply.text).filter((chunk) => chunk !== '[DONE]');
      const failed = 'error' in chunks.at(-1);
      expect(reply.text.endsWith('data: [DONE]\n\n')).toBe(!failed);
      return failed ? undefined : chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('');
    },
  },
  {
    path: '/execute',
    body: { prompt, config: { model_name: 'both', temperature: 0 } },
    answer: (reply) => (reply.status === 200 ? json(reply).content : undefined),
  },
];

const folders = [newFolder(), newFolder()];
const boxes: LiveProcess[] = [];
let front: LiveServer;

beforeAll(async () => {
  for (const folder of folders) boxes.push(await LiveProcess.start(folder, { LLM_SLOTS: '3' }));
  process.env.LMSERV_TEST_BOX_KEY = LIVE_KEY;
  const remote = ({ url }: LiveProcess) => ({
    ...{ baseUrl: url, model: 'default', kind: 'llama', apiKeyEnv: 'LMSERV_TEST_BOX_KEY' },
  });
  front = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, {
      remotes: { first: remote(boxes[0]!), second: remote(boxes[1]!) },
      groups: { both: { members: ['first', 'second'] } },
    }),
  })).start();
});

afterAll(async () => {
  await front.stop();
  await Promise.all(boxes.map((box) => box.kill()));
  delete process.env.LMSERV_TEST_BOX_KEY;
});

const start = (path: string, body: object): Exchange => send(front, path, body);

test('the server that dies fails no request without a token, and cut replies say so', async () => {
  // Two that have begun on the first box for sure, and hold two of its three slots until it dies.
  const first = await Promise.all([CHAT, '/complete/stream'].map((path) => begun(front, path, endless)));
  const load = Array.from({ length: REQUESTS - first.length }, (_, i) => {
    const kind = KINDS[i % KINDS.length]!;
    return { kind, running: start(kind.path, kind.body) };
  });
  await boxes[0]!.untilReady(({ queue }) => queue.waiting > 0);
  await boxes[0]!.kill();

  const [openai, ndjson] = await Promise.all(first.map(({ reply }) => reply));
  expect(sseData(openai!.text).at(-1)).toMatchObject({ error: { code: 'generation_failed' } });
  expect(openai!.text).not.toContain('[DONE]');
  expect(lines(ndjson!).at(-1)).toEqual({ type: 'error', message: 'All providers unavailable' });

  const answers = await Promise.all(load.map(async ({ kind, running }) => kind.answer(await running.reply)));
  const whole = answers.filter((answer) => answer !== undefined);
  for (const answer of whole) expect(answer).toMatch(/^Ceviche is .*\.$/i);
  // Only what ran in the third slot had begun.
  expect(whole.length).toBeGreaterThanOrEqual(load.length - 1);

  await front.until('request', () => front.logged('request').length >= REQUESTS);
  const served = front.logged('request');
  expect(served).toHaveLength(REQUESTS);
  expect(
    served.filter(({ backend, outcome }) => backend === 'second' && outcome === 'finished').length,
  ).toBeGreaterThan(0);
});

test('the other server then serves alone, and the front is still ok', async () => {
  const logged = front.next('request');
  expect((await start('/chat', { ...common, prompt }).reply).text).toMatch(/ceviche/i);
  expect(await logged).toMatchObject({ route: '/chat', backend: 'second' });
  expect(json(await get(`${front.url}/ready`)).status).toBe('ok');
});
