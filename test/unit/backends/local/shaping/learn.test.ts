import { STRICTEST } from '../../../../../src/backends/local/shaping/facts.js';
import { learnHandler, learnTemplate } from '../../../../../src/backends/local/shaping/learn.js';
import type { JsonObject } from '../../../../../src/contract.js';
import { ChildRefusal } from '../../../../../workers/child-http.js';

type Turn = { role: string; content: unknown };
type Render = (messages: Turn[], asked: JsonObject) => string;

const refuse = (): never => {
  throw new ChildRefusal(400, 'invalid_request_error', 'no');
};

/** A worker whose template is a function. */
const learn = (render: Render) =>
  learnTemplate(async (_, asked) => ({ prompt: render(asked.messages as unknown as Turn[], asked) }));

const everything: Render = (_, asked) => JSON.stringify(asked);

const has = (turns: Turn[], role: string): boolean => turns.some((turn) => turn.role === role);

test('a template that shows every word takes everything', async () => {
  const facts = await learn(everything);
  expect(Object.keys(facts!)).toEqual(Object.keys(STRICTEST));
  expect(new Set(Object.values(facts!))).toEqual(new Set([true]));
});

test.each<[fact: string, render: Render]>([
  [
    'repeatedUser',
    (turns, asked) =>
      turns.some((turn, at) => turn.role === 'user' && turns[at + 1]?.role === 'user')
        ? refuse()
        : everything(turns, asked),
  ],
  ['tools', (turns) => JSON.stringify(turns)],
  [
    'longCallIds',
    (turns, asked) => (JSON.stringify(turns).includes('call_0') ? refuse() : everything(turns, asked)),
  ],
  ['toolTurns', (turns, asked) => (has(turns, 'tool') ? refuse() : everything(turns, asked))],
  ['nestedArguments', (turns, asked) => everything(turns, asked).replaceAll(/\{\\"(in|by)\\":[^}]*\}/g, '')],
  [
    'lastingSystem',
    (turns, asked) =>
      JSON.stringify([
        turns.filter(({ role }) => role !== 'system' || turns.at(-1)!.role !== 'tool'),
        asked.tools,
      ]),
  ],
  [
    'textParts',
    (turns, asked) => {
      const first = (turn: Turn) =>
        turn.role === 'system' && Array.isArray(turn.content) ? { ...turn, content: turn.content[0] } : turn;
      return everything(turns, { ...asked, messages: turns.map(first) });
    },
  ],
  // These show tools only beside a turn of the user.
  [
    'systemAlone',
    (turns, asked) => JSON.stringify([turns, turns.every(({ role }) => role === 'system') || asked.tools]),
  ],
  [
    'assistantFirst',
    (turns, asked) =>
      JSON.stringify([turns, has(turns, 'user') || has(turns, 'system') ? asked.tools : null]),
  ],
  [
    'laterSystem',
    (turns, asked) =>
      JSON.stringify([
        turns.filter((turn, at) => at === 0 || turns[at - 1]!.role === 'system' || turn.role !== 'system'),
        asked.tools,
      ]),
  ],
])('a template that refuses or drops something lacks %s alone', async (fact, render) => {
  const facts = Object.entries((await learn(render))!);
  expect(facts.filter(([, has]) => !has).map(([name]) => name)).toEqual([fact]);
});

test.each<[title: string, post: () => Promise<unknown>]>([
  ['has no such route', async () => refuse()],
  ['replies something else', async () => ({})],
  ['shows not even a question', async () => ({ prompt: '' })],
])('nothing is known of a worker that %s', async (_, post) => {
  expect(await learnTemplate(post)).toBeUndefined();
});

test('a worker that fails while it is asked is no proof', async () => {
  const lost = new Error('lost');
  await expect(learnTemplate(() => Promise.reject(lost))).rejects.toBe(lost);
});

interface Token {
  readonly settings?: object;
  readonly reasons?: boolean;
}

const ENFORCING = { grammar: 'root ::= zqfield | look | zqgrammar', grammar_lazy: false };

test.each<[title: string, token: (asked: JsonObject) => Token, facts: object | undefined]>([
  [
    'a grammar enforces',
    () => ({ settings: ENFORCING }),
    { schema: true, grammar: true, calls: true, reasoning: false },
  ],
  [
    'a lazy grammar or none does not',
    (asked) => ({ settings: asked.tools ? { ...ENFORCING, grammar_lazy: true } : { grammar: '' } }),
    { schema: false, grammar: false, calls: false, reasoning: false },
  ],
  [
    'a refusal is no proof',
    (asked) => (asked.tools || asked.grammar ? refuse() : { settings: ENFORCING }),
    { schema: true, grammar: false, calls: false, reasoning: false },
  ],
  [
    'what a grammar enforces is not the reply where it becomes reasoning',
    () => ({ settings: ENFORCING, reasons: true }),
    { schema: true, grammar: false, calls: true, reasoning: true },
  ],
  ['nothing is known of a worker that does not tell', () => ({}), undefined],
])('of handlers: %s', async (_, token, facts) => {
  const post = async (_path: string, asked: JsonObject) => {
    const { settings, reasons } = token(asked);
    const message = reasons === true ? { reasoning_content: 'hm' } : {};
    return { choices: [{ message }], __verbose: { generation_settings: settings } };
  };
  expect(await learnHandler(post)).toEqual(facts);
});
