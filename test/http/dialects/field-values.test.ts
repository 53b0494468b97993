import { playing, post, saying } from '../../support/app.js';
import { sseData } from '../../support/exchange.js';

/** Values at the ends of their ranges, and those that mean "not set" or "off" in one API or another. */

const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'hi' }];
const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];

/** Routes with OpenAI's sampling fields, with their smallest body. */
const ROUTES: [string, object, object][] = [
  [CHAT, { messages }, { messages }],
  ['/complete', { model: 'm', messages }, { messages }],
  ['/complete/stream', { model: 'm', messages }, { messages }],
  ['/v1/completions', { prompt: 'a' }, { prompt: 'a' }],
];

const LIMITS = ['max_tokens', 'max_completion_tokens', 'n_predict'];
const NUMBERS = [
  ...[
    'temperature',
    'top_p',
    'top_k',
    'min_p',
    'typical_p',
    'top_n_sigma',
    'xtc_probability',
    'xtc_threshold',
  ],
  ...['dynatemp_range', 'dynatemp_exponent', 'repeat_penalty', 'repeat_last_n', 'frequency_penalty'],
  ...['presence_penalty', 'dry_multiplier', 'dry_base', 'dry_allowed_length', 'dry_penalty_last_n'],
  ...['mirostat', 'mirostat_tau', 'mirostat_eta', 'seed', 'ignore_eos', 'n', 'stream', 'logprobs'],
];
const EMPTIES: [string, unknown][] = [
  ...[null, '', [], {}].flatMap((value): [string, unknown][] => [
    ['logit_bias', value],
    ['stop', value],
    ['response_format', value],
    ['structured_outputs', value],
    ['guided_regex', value],
    ['guided_choice', value],
    ['format', value],
    ['stream_options', value],
  ]),
  ...[null, ''].flatMap((value): [string, unknown][] => [
    ['grammar', value],
    ['json_schema', value],
    ['guided_json', value],
    ['guided_grammar', value],
    ['user', value],
    ['metadata', value],
    ['service_tier', value ?? null],
  ]),
  ...[...LIMITS, ...NUMBERS].map((name): [string, unknown] => [name, null]),
  ...LIMITS.flatMap((name): [string, unknown][] => [
    [name, -1],
    [name, -2],
  ]),
  ['seed', -1],
  ['seed', 4_294_967_295],
  ['stop', ['']],
  ['stop', [null]],
];

describe.each(ROUTES)('%s', (path, body, plain) => {
  test.each(EMPTIES)('%s: %j is not set', async (name, value) => {
    const generate = saying('x');
    await post(path, { ...body, [name]: value }, { generate }).expect(200);
    expect(generate.requests[0]!.body).toEqual(plain);
  });

  test.each<[string, unknown, unknown?]>([
    ['top_k', -1],
    ['top_k', 0],
    ['top_k', 40.0],
    ['top_p', 0],
    ['top_p', 1],
    ['min_p', 0],
    ['min_p', 1],
    ['typical_p', 1],
    ['top_n_sigma', -1],
    ['temperature', 0],
    ['temperature', 2],
    ['repeat_last_n', 0],
    // llama.cpp's server refuses -1, the whole context.
    ['repeat_last_n', -1, 1_048_576],
    ['dry_penalty_last_n', 0],
    ['dry_penalty_last_n', -1, 1_048_576],
    ['frequency_penalty', -2],
    ['presence_penalty', 2],
    ['mirostat', 0],
    ['mirostat', 2],
    ['xtc_threshold', 1],
    ['dynatemp_range', 0],
    ['dry_multiplier', 0],
    ['top_k', 1e12, 2_147_483_647],
    ['repeat_last_n', 2_147_483_647, 1_048_576],
    ['dry_penalty_last_n', 1e20, 1_048_576],
    ['dry_allowed_length', 1e12, 2_147_483_647],
    ['max_tokens', 1],
    ['max_tokens', 999_999_999],
    ['seed', 0],
    ['seed', -9_223_372_036_854_775_808, expect.any(Number)],
    ['seed', 18_446_744_073_709_551_615, expect.any(Number)],
    ['stop', 'a'],
    ['stop', ['a', '', null, 'b'], ['a', 'b']],
    ['logit_bias', { 5: -100 }],
    ['logit_bias', { 5: false }, { 5: -100 }],
    [
      'logit_bias',
      [
        [5, 1.5],
        [6, false],
      ],
      { 5: 1.5, 6: -100 },
    ],
  ])('%s: %j is taken', async (name, value, kept = value) => {
    const generate = saying('x');
    await post(path, { ...body, [name]: value }, { generate }).expect(200);
    expect(generate.requests[0]!.body).toEqual({ ...plain, [name]: kept });
  });

  test.each(
    LIMITS.flatMap((name) => [1e9, 2 ** 31 - 1, 2 ** 31, 2 ** 63, 1e300].map((value) => [name, value])),
  )('%s: %d is no limit', async (name, value) => {
    const generate = saying('x');
    await post(path, { ...body, [name]: value }, { generate }).expect(200);
    expect(generate.requests[0]!.body).toEqual({ ...plain, max_tokens: 2_147_483_647 });
  });

  test.each<[string, unknown]>([
    ...LIMITS.flatMap((name): [string, unknown][] => [
      [name, 0],
      [name, -3],
      [name, -2_147_483_648],
      [name, 1.5],
      [name, '5'],
      [name, ''],
    ]),
    ['top_k', -2],
    ['repeat_last_n', -2],
    ['dry_penalty_last_n', -2],
    ['dry_allowed_length', -1],
    ['top_k', 1.5],
    ['seed', 1.5],
    ['seed', 1e20],
    ['temperature', '0.5'],
    ['temperature', -0.1],
    ['top_p', 1.1],
    ['mirostat', 3],
    ['logit_bias', [[5]]],
    ['logit_bias', [['Hello', 1]]],
    ['logit_bias', { 5: true }],
    ['stop', 5],
  ])('%s: %j is 400', async (name, value) => {
    const { body: reply } = await post(path, { ...body, [name]: value }).expect(400);
    expect(reply.error.param).toMatch(new RegExp(`^${name}`));
  });
});

describe('chat completions', () => {
  test.each<[string, unknown]>([
    ['functions', null],
    ['functions', []],
    ['function_call', null],
    ['function_call', ''],
    ['function_call', 'none'],
    ['function_call', 'auto'],
    ['tools', null],
    ['tools', []],
    ['tool_choice', null],
    ['tool_choice', ''],
    ['tool_choice', 'auto'],
    ['tool_choice', 'none'],
    ['parallel_tool_calls', null],
    ['top_logprobs', null],
    ['top_logprobs', 0],
    ['reasoning_effort', null],
    ['reasoning_effort', ''],
    ['chat_template_kwargs', null],
    ['chat_template_kwargs', {}],
    ['model', null],
    ['model', ''],
    ['modalities', null],
    ['audio', null],
    ['prediction', null],
  ])('%s: %j is not set', async (name, value) => {
    const generate = saying('x');
    await post(CHAT, { messages, [name]: value }, { generate }).expect(200);
    expect(generate.requests[0]).toEqual({ kind: 'chat', n: 1, body: { messages } });
  });

  test.each(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max', 'ultra'])(
    'the effort %s reaches the model, also from /execute',
    async (effort) => {
      const generate = saying('x');
      await post(CHAT, { messages, reasoning_effort: effort }, { generate }).expect(200);
      const config = { model_params: { reasoning_effort: effort } };
      await post('/execute', { prompt: 'hi', config }, { generate }).expect(200);
      for (const { body } of generate.requests) expect(body.reasoning_effort).toBe(effort);
    },
  );

  test('log probabilities have as many alternatives as asked for, by default none', async () => {
    const top_logprobs = ['a', 'b', 'c'].map((token) => ({ token, logprob: -1 }));
    const script = playing([
      { type: 'text', index: 0, text: 'a', logprobs: [{ token: 'a', logprob: -1, top_logprobs }] },
    ]);
    for (const [tops, count] of [
      [undefined, 0],
      [null, 0],
      [0, 0],
      [2, 2],
    ] as const) {
      const asked = { messages, logprobs: true, top_logprobs: tops };
      const { body } = await post(CHAT, asked, { generate: script }).expect(200);
      const chunks = sseData((await post(CHAT, { ...asked, stream: true }, { generate: script })).text);
      for (const { logprobs } of [body.choices[0], chunks[1].choices[0]])
        expect(logprobs.content[0].top_logprobs).toEqual(top_logprobs.slice(0, count));
    }
    expect(script.requests.map(({ body }) => body.top_logprobs)).toEqual([1, 1, 1, 1, 1, 1, 2, 2]);
  });

  test.each([[{ tool_choice: 'required' }], [{ tools: [], tool_choice: 'required' }]])(
    'a call is required of no tool: 400 %j',
    async (fields) => {
      expect((await post(CHAT, { messages, ...fields }).expect(400)).body.error.param).toBe('tool_choice');
    },
  );

  test('tools need no type and no parameters', async () => {
    const generate = saying('x');
    const bare = [{ function: { name: 'f', parameters: [], description: null } }];
    await post(CHAT, { messages, tools: bare }, { generate }).expect(200);
    expect(generate.requests[0]!.body.tools).toEqual([{ type: 'function', function: { name: 'f' } }]);
  });
});

describe('completions', () => {
  test.each<[string, unknown]>([
    ['suffix', ''],
    ['suffix', null],
    ['echo', false],
    ['echo', null],
    ['best_of', 1],
    ['best_of', null],
    ['model', ''],
  ])('%s: %j is not set', async (name, value) => {
    const generate = saying('x');
    await post('/v1/completions', { prompt: 'a', [name]: value }, { generate }).expect(200);
    expect(generate.requests[0]).toEqual({ kind: 'raw', n: 1, body: { prompt: 'a' } });
  });

  test('best_of may be n', async () => {
    const script = playing([0, 1].map((index) => ({ type: 'finish', index, reason: 'stop' })));
    await post('/v1/completions', { prompt: 'a', n: 2, best_of: 2 }, { generate: script }).expect(200);
    await post('/v1/completions', { prompt: 'a', n: 2, best_of: 3 }, { generate: script }).expect(400);
  });

  test('logprobs: 0 gives the tokens’ own, without alternatives', async () => {
    const logprobs = [{ token: 'a', logprob: -1, top_logprobs: [{ token: 'b', logprob: -2 }] }];
    const script = playing([{ type: 'text', index: 0, text: 'a', logprobs }]);
    const { body } = await post('/v1/completions', { prompt: 'x', logprobs: 0 }, { generate: script }).expect(
      200,
    );
    expect(body.choices[0].logprobs).toMatchObject({
      tokens: ['a'],
      token_logprobs: [-1],
      top_logprobs: [{}],
    });
    expect(script.requests[0]!.body.logprobs).toBe(1);
  });
});

/** The others have limits of their own, which -1 does not lift. */
test.each([
  ['/chat', { prompt: 'hi' }, 256],
  ['/llm', { prompt: 'hi' }, 256],
  ['/llm', { task: 'chat_completion', input: { prompt: 'hi' } }, 800],
  ['/execute', { prompt: 'hi', config: {} }, 2000],
])('%s keeps its limit: %j', async (path, body, limit) => {
  const generate = saying('x');
  const withTokens = (value: unknown) => {
    const field = { max_tokens: value };
    return post(path, 'config' in body ? { ...body, config: field } : { ...body, ...field }, { generate });
  };
  await withTokens(null).expect(200);
  expect(generate.requests[0]!.body.max_tokens).toBe(limit);
  for (const value of [-1, -2, 0, 1.5]) await withTokens(value).expect(400);
  await withTokens(2 ** 40).expect(200);
  expect(generate.requests.at(-1)!.body.max_tokens).toBe(2_147_483_647);
});

test.each<[string, object]>([
  [
    '/chat',
    { prompt: 'a', system_prompt: null, model: '', temperature: null, top_p: null, repeat_penalty: null },
  ],
  ['/llm', { prompt: 'a', model: '', temperature: null }],
  [
    '/llm',
    {
      task: 'chat_completion',
      input: { prompt: 'a' },
      provider: '',
      model: '',
      schema: null,
      priority: null,
    },
  ],
  ['/llm', { task: 'chat_completion', input: { prompt: 'a' }, provider: null, priority: '' }],
  ['/execute', { prompt: 'a', config: null }],
  [
    '/execute',
    { prompt: 'a', config: { model_name: '', task_type: '', model_params: null, max_depth: null } },
  ],
  ['/execute', { prompt: 'a', config: { temperature: null, timeout_seconds: null, model_params: {} } }],
  [
    '/execute',
    { prompt: 'a', config: { model_params: { stop: '', logit_bias: [], seed: -1, response_format: null } } },
  ],
  ['/complete', { model: 'm', messages, tenant_id: null, tools: [], tool_choice: null, functions: null }],
])('%s takes unset fields: %j', async (path, body) => {
  await post(path, body, { generate: saying('x') }).expect(200);
});

test('an unset field of the tools is no constraint', async () => {
  const generate = saying('x');
  await post(CHAT, { messages, tools, tool_choice: null }, { generate }).expect(200);
  expect(generate.requests[0]!.body).toEqual({ messages, tools });
});
