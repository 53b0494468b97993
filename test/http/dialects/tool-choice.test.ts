import { post, saying } from '../../support/app.js';

/** Which tools a client wants called, in the words of OpenAI's two APIs, Anthropic's and Mistral's. */

const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'hi' }];
const tool = (name: string) => ({ type: 'function', function: { name, parameters: { type: 'object' } } });
const tools = ['f', 'g', 'h'].map(tool);
const [f, g] = tools;
const named = (name: string) => ({ type: 'function', function: { name } });
const ALL = [f, g, tool('h')];

const inChat = (...names: string[]) => names.map(named);
const inResponses = (...names: string[]) => names.map((name) => ({ type: 'function', name }));

test.each<[unknown, unknown, unknown[]]>([
  ['none', 'none', ALL],
  ['auto', 'auto', ALL],
  ['required', 'required', ALL],
  ['any', 'required', ALL],
  [{ type: 'none' }, 'none', ALL],
  [{ type: 'auto' }, 'auto', ALL],
  [{ type: 'auto', disable_parallel_tool_use: true }, 'auto', ALL],
  [{ type: 'required' }, 'required', ALL],
  [{ type: 'any' }, 'required', ALL],
  [named('g'), named('g'), ALL],
  [{ type: 'function', name: 'g' }, named('g'), ALL],
  [{ type: 'tool', name: 'g' }, named('g'), ALL],
  [{ type: 'allowed_tools', allowed_tools: { mode: 'auto', tools: inChat('f', 'g') } }, 'auto', [f, g]],
  [{ type: 'allowed_tools', allowed_tools: { mode: 'auto', tools: inChat('g') } }, 'auto', [g]],
  [
    { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: inChat('f', 'g') } },
    'required',
    [f, g],
  ],
  [{ type: 'allowed_tools', allowed_tools: { mode: 'required', tools: inChat('g') } }, named('g'), ALL],
  [{ type: 'allowed_tools', mode: 'required', tools: inResponses('f', 'g') }, 'required', [f, g]],
])('tool_choice %j is %j', async (tool_choice, choice, offered) => {
  const generate = saying('x');
  await post(CHAT, { messages, tools, tool_choice }, { generate }).expect(200);
  expect(generate.requests[0]!.body).toEqual({ messages, tools: offered, tool_choice: choice });
  const form = { response_format: { type: 'json_object' } };
  await post(CHAT, { messages, tools, tool_choice, ...form }, { generate }).expect(200);
  const mayHaveForm = choice === 'auto' || choice === 'none';
  expect('response_format' in generate.requests[1]!.body).toBe(mayHaveForm);
});

test.each<[unknown, string, RegExp]>([
  ['f', 'tool_choice', /must be none, auto, required, any, or an object/],
  ['REQUIRED', 'tool_choice', /must be none, auto/],
  [true, 'tool_choice', /must be none, auto/],
  [['f'], 'tool_choice', /must be none, auto/],
  [{ type: 'mcp', server_label: 's' }, 'tool_choice.type', /must be none, auto/],
  [{ type: 'function' }, 'tool_choice', /expected/],
  [{ type: 'function', function: 'f' }, 'tool_choice.function', /expected object/],
  [{ type: 'function', name: 'x' }, 'tool_choice', /not in tools: x/],
  [named('x'), 'tool_choice', /not in tools: x/],
  [
    { type: 'allowed_tools', mode: 'none', tools: inResponses('f') },
    'tool_choice.mode',
    /"auto"\|"required"/,
  ],
  [{ type: 'allowed_tools', mode: 'auto', tools: [] }, 'tool_choice.tools', /at least 1/],
  [{ type: 'allowed_tools', mode: 'auto', tools: inResponses('f', 'x') }, 'tool_choice', /not in tools: x/],
  [{ type: 'allowed_tools', mode: 'auto', tools: [{ type: 'mcp' }] }, 'tool_choice.tools.0', /expected/],
])('tool_choice %j is 400', async (tool_choice, param, message) => {
  const generate = saying('x');
  const { body } = await post(CHAT, { messages, tools, tool_choice }, { generate }).expect(400);
  expect(body.error.param).toMatch(new RegExp(`^${param}`));
  expect(body.error.message).toMatch(message);
  expect(generate.requests).toEqual([]);
});

test.each(['required', 'any', { type: 'any' }, { type: 'function', name: 'f' }, named('f')])(
  'tool_choice %j without tools is 400',
  async (tool_choice) => {
    const { body } = await post(CHAT, { messages, tool_choice }).expect(400);
    expect(body.error.param).toBe('tool_choice');
  },
);

describe('a tool', () => {
  const parameters = { type: 'object', properties: { at: { type: 'string' } } };
  const whole = { type: 'function', function: { name: 'f', description: 'finds', parameters } };
  test.each<[string, object]>([
    ['the Responses API', { type: 'function', name: 'f', description: 'finds', parameters, strict: true }],
    ['Anthropic', { name: 'f', description: 'finds', input_schema: parameters }],
  ])('in the form of %s is taken', async (_, given) => {
    const generate = saying('x');
    await post(CHAT, { messages, tools: [given] }, { generate }).expect(200);
    expect(generate.requests[0]!.body.tools).toEqual([whole]);
  });

  test.each([
    [{ type: 'web_search' }, 'tools.0'],
    [{ type: 'custom', name: 'patch', description: 'writes' }, 'tools.0.type'],
    [{ type: 'function', name: 'f', parameters: { type: 'any' } }, 'tools.0.function.parameters'],
  ])('%j is 400', async (given, param) => {
    const { body } = await post(CHAT, { messages, tools: [given] }).expect(400);
    expect(body.error.param).toMatch(new RegExp(`^${param}`));
  });
});
