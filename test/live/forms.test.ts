import { join } from 'node:path';
import { ROOT } from '../../src/config/root.js';
import { json } from '../support/exchange.js';
import { demoModel, ENDLESS, LiveServer, writeConfig } from '../support/live.js';
import { begun, CHAT, post, user } from './requests.js';

/** Every form of a reply on real workers: what enforces it, and what becomes of it when its client or its worker goes. */

const template = (name: string) => ({
  extraArgs: [
    ...['--chat-template-file', join(ROOT, `vendor/llama.cpp/source/models/templates/${name}.jinja`)],
  ],
});

const models = {
  plain: demoModel({ slots: 4, workers: 2, context: 8_192 }),
  // Its prompt opens the reasoning, which the demo model never ends.
  thinker: demoModel({ slots: 1, workers: 2, ...template('Qwen-QwQ-32B') }),
  // The demo model cannot write its format.
  oss: demoModel(template('openai-gpt-oss-120b')),
  // It has no form for calls.
  gemma: demoModel({ slots: 1, workers: 2, ...template('google-gemma-2-2b-it') }),
};

let live: LiveServer;

beforeAll(async () => {
  live = await new LiveServer((folder) => ({ LMSERV_CONFIG: writeConfig(folder, { models }) })).start();
  await live.untilReady(({ workers }) => workers.idle === 7);
});

afterAll(() => live.stop());

const words = { type: 'string', pattern: '^[a-z ]{900,990}$' };
const parameters = {
  type: 'object',
  properties: { words },
  required: ['words'],
  additionalProperties: false,
};
const tools = ['write', 'draw'].map((name) => ({ type: 'function', function: { name, parameters } }));
const response_format = { type: 'json_schema', json_schema: { name: 'words', schema: parameters } };
const ask = { model: 'plain', ...user('Tell me a story'), max_tokens: 900, temperature: 0, stream: true };
const endless = { ...ask, ignore_eos: true };

/** Long replies: the route, the request, and whether another worker may resume them. */
const FORMS: readonly [title: string, path: string, body: object, resumed: boolean][] = [
  ['a text', CHAT, endless, true],
  ['a text beside tools', CHAT, { ...endless, tools }, false],
  ['a text beside tools that may not be called', CHAT, { ...endless, tools, tool_choice: 'none' }, false],
  ['a schema', CHAT, { ...ask, response_format }, false],
  ['a grammar', CHAT, { ...ask, grammar: 'root ::= [a-z ]{900,990}' }, false],
  [
    'a grammar without the handler',
    CHAT,
    { ...ask, model: 'thinker', grammar: 'root ::= [a-z ]{900,990}' },
    false,
  ],
  ['a call without the handler', CHAT, { ...ask, model: 'gemma', tools, tool_choice: 'any' }, false],
  ['a call by name', CHAT, { ...ask, tools, tool_choice: { type: 'tool', name: 'draw' } }, false],
  ['log probabilities', CHAT, { ...endless, logprobs: true, top_logprobs: 3 }, false],
  ['several choices', CHAT, { ...endless, n: 3 }, true],
  ['reasoning', CHAT, { ...endless, model: 'thinker' }, true],
  ['a raw prompt', '/v1/completions', { ...endless, messages: undefined, prompt: 'Once' }, true],
  [
    'several prompts',
    '/v1/completions',
    { ...endless, messages: undefined, prompt: ['One', 'Two', 'Three'], n: 2 },
    true,
  ],
  [
    'a raw schema',
    '/v1/completions',
    { ...ask, messages: undefined, prompt: 'Once', json_schema: parameters },
    false,
  ],
];

test.each(FORMS)('a client that leaves ends %s and frees its slots', async (_, path, body) => {
  const reply = await begun(live, path, { ...body, max_tokens: -1 });
  reply.abort();
  await reply.reply.catch(() => undefined);
  await live.untilIdle();
});

test.each(FORMS)(
  'a worker that dies during %s is replaced in the reply, or it is visibly broken',
  async (_, path, body, resumed) => {
    const reply = await begun(live, path, body);
    killWorkersOf((body as { model: string }).model);
    const { text } = await reply.reply;
    const events = [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data]) => JSON.parse(data!));
    const error = events.find((event) => event.error)?.error;
    if (resumed) {
      expect(error).toBeUndefined();
      const reasons = events.flatMap(({ choices }) => choices[0]?.finish_reason ?? []);
      expect(new Set(reasons)).toEqual(new Set(['length']));
      expect(text).toMatch(/data: \[DONE\]\n\n$/);
    } else {
      expect(error).toMatchObject({ code: 'generation_failed' });
      expect(text).not.toContain('[DONE]');
    }
    await live.untilReady(({ workers }) => workers.idle === 7);
  },
);

/** The other models' workers would have to start again for nothing. */
function killWorkersOf(model: string): void {
  const living = new Set(live.workerPids());
  for (const { worker, pid } of live.logged('worker_ready'))
    if (worker.startsWith(`${model}#`) && living.has(pid)) process.kill(pid, 'SIGKILL');
}

describe('a choice of texts', () => {
  const choices = ['dark red', 'green'];
  const asked = { ...user('Name a colour'), guided_choice: choices, temperature: 0 };

  test.each(Object.keys(models))(
    'is the content, neither reasoning nor lost, on the template of %s',
    async (model) => {
      const whole = await post(live, CHAT, { ...asked, model });
      expect(whole.status).toBe(200);
      expect(whole.headers).not.toHaveProperty('x-reply-unparsed');
      const { message, finish_reason: reason } = json(whole).choices[0];
      expect(choices).toContain(message.content);
      expect(message).not.toHaveProperty('reasoning_content');
      expect(reason).toBe('stop');
      const { text } = await post(live, CHAT, { ...asked, model, stream: true, n: 2 });
      const pieces = ['', ''];
      for (const [, data] of text.matchAll(/^data: (\{.*)$/gm)) {
        const [choice] = JSON.parse(data!).choices;
        pieces[choice.index] += choice.delta.content ?? '';
      }
      for (const said of pieces) expect(choices).toContain(said);
    },
  );
});

/** As in OpenAI's own guide: parts of a page that contain others. */
const page = {
  type: 'object',
  properties: {
    type: { enum: ['div', 'form'] },
    children: { type: 'array', items: { $ref: '#' }, maxItems: 1 },
  },
  required: ['type', 'children'],
  additionalProperties: false,
};
const PAGE = /^\s*\{\s*"type":\s*"(div|form)",\s*"children":\s*\[\s*(\{\s*"type":|\]\s*\}$)/;

test.each(['plain', 'gemma'])(
  'a schema that contains itself holds, in a reply and in a call, on %s',
  async (model) => {
    const asked = { ...user('Make a page'), model, temperature: 0, max_tokens: 400 };
    const format = { type: 'json_schema', json_schema: { name: 'page', schema: page } };
    const inReply = json(await post(live, CHAT, { ...asked, response_format: format }));
    expect(inReply.choices[0].message.content).toMatch(PAGE);
    const make = { type: 'function', function: { name: 'make', parameters: page } };
    const inCall = json(await post(live, CHAT, { ...asked, tools: [make], tool_choice: 'required' }));
    expect(inCall.choices[0].message.tool_calls[0].function.arguments).toMatch(PAGE);
  },
);

test.each<[string, string, object]>([
  ['grammar', CHAT, { grammar: 'root = oops' }],
  ['grammar', CHAT, { guided_grammar: 'start ::= "a"' }],
  ['grammar', '/v1/completions', { prompt: 'a', grammar: 'root ::= gone' }],
  ['prompt', '/v1/completions', { prompt: [1, 99_999_999] }],
  ['logprobs', CHAT, { tools, logprobs: true }],
  [
    'messages',
    CHAT,
    { messages: [{ role: 'assistant', tool_calls: [{ function: { name: 'write' } }] }], tools },
  ],
])('what llama.cpp refuses is 400 and names %s', async (param, path, body) => {
  const reply = await post(live, path, { ...ask, stream: false, ...body });
  expect(reply.status).toBe(400);
  expect(json(reply).error).toMatchObject({ code: 'invalid_value', param });
});

test('a limit beyond any context fills the context, and MAX_TOKENS is for requests without one', async () => {
  const small = await new LiveServer({
    MAX_TOKENS: '7',
    LLM_EXTRA_ARGS: ENDLESS,
    LLM_CTX_SIZE: '256',
  }).start();
  try {
    const used = async (fields: object) => {
      const { choices, usage } = json(await post(small, CHAT, { ...user('Hello'), ...fields }));
      expect(choices[0].finish_reason).toBe('length');
      return usage;
    };
    for (const fields of [{}, { max_tokens: -1 }, { n_predict: -2 }])
      expect(await used(fields)).toMatchObject({ completion_tokens: 7 });
    for (const max_tokens of [1e9, 2 ** 31 - 1, 2 ** 63])
      expect((await used({ max_tokens })).total_tokens).toBeGreaterThan(250);
  } finally {
    await small.stop();
  }
});
