import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import request from 'supertest';
import { ROOT } from '../../../src/config/root.js';
import type { FinishReason, ReplyEvent } from '../../../src/contract.js';
import { LMServError } from '../../../src/errors.js';
import { events, failing, get, KEY, playing, post, saying, testApp } from '../../support/app.js';

const PATH = '/v1/responses';

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = { type: 'function', name: 'get_weather', description: 'Weather', parameters: schema };
const time = { type: 'function', name: 'get_time', parameters: schema, strict: true };

/** What the backends get for a request. */
async function asked(body: object) {
  const generate = saying('Hi');
  await post(PATH, { input: 'Hello', ...body }, { generate }).expect(200);
  return generate.requests[0]!;
}

/** The messages that an input becomes. */
const messagesOf = async (input: unknown, more: object = {}) =>
  (await asked({ input, ...more })).body.messages;

/** The error for a request; its status is 400. */
async function refused(body: object) {
  const response = await post(PATH, { input: 'Hello', ...body }).expect(400);
  expect(response.body.error).toMatchObject({ type: 'invalid_request_error', code: 'invalid_value' });
  return response.body.error as { param: string; message: string };
}

const finish = (reason: FinishReason): ReplyEvent => ({ type: 'finish', index: 0, reason });
const call = (index: number, text: string, name?: string): ReplyEvent => ({
  type: 'tool_call',
  index: 0,
  call: { index, arguments: text, ...(name === undefined ? {} : { id: `call_${index}`, name }) },
});
const thought = (text: string): ReplyEvent => ({ type: 'reasoning', index: 0, text });
const text = (piece: string): ReplyEvent => ({ type: 'text', index: 0, text: piece });
const usage: ReplyEvent = { type: 'usage', usage: { promptTokens: 7, completionTokens: 5, cachedTokens: 3 } };

const ID = /^[a-z]+_[0-9a-f]{48}$/;

describe('input', () => {
  test('a text is what the user says, after the instructions', async () => {
    expect(await messagesOf('Hello', { instructions: 'Be brief.' })).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
    ]);
  });

  test('messages, with and without a type, as text or parts', async () => {
    const url = 'data:image/png;base64,iVBORw0KGgo=';
    const messages = await messagesOf([
      { type: null, role: 'developer', content: 'Be brief.' },
      { type: 'message', role: 'user', id: 'msg_1', content: [{ type: 'input_text', text: 'Hello' }] },
      {
        type: 'message',
        role: 'assistant',
        status: 'completed',
        phase: 'final_answer',
        content: [{ type: 'output_text', text: 'Hi', annotations: [], logprobs: [] }],
      },
      { role: 'assistant', content: [{ type: 'refusal', refusal: 'No' }] },
      {
        role: 'user',
        content: [
          { type: 'input_text', text: 'And this?' },
          { type: 'input_image', image_url: url, detail: 'auto' },
        ],
      },
    ]);
    expect(messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hi' },
      { role: 'assistant', content: 'No' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'And this?' },
          { type: 'image_url', image_url: { url } },
        ],
      },
    ]);
  });

  test('the items of one earlier reply are one turn, with the reasoning and calls of it', async () => {
    const called = (id: string, city: string) => ({
      type: 'function_call',
      id: `fc_${id}`,
      call_id: id,
      name: 'get_weather',
      arguments: JSON.stringify({ city }),
      status: 'completed',
    });
    const messages = await messagesOf([
      { role: 'user', content: 'Lima and Cusco?' },
      {
        type: 'reasoning',
        id: 'rs_1',
        summary: [],
        content: [{ type: 'reasoning_text', text: 'Two calls' }],
        encrypted_content: 'gAAA',
      },
      { role: 'assistant', content: 'I look.' },
      called('call_a', 'Lima'),
      called('call_b', 'Cusco'),
      { type: 'function_call_output', call_id: 'call_a', output: '18' },
      { type: 'function_call_output', call_id: 'call_b', output: [{ type: 'input_text', text: '12' }] },
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'One more' }] },
      called('call_c', 'Puno'),
      { type: 'function_call_output', call_id: 'call_c', output: '9' },
    ]);
    const turnCall = (id: string, city: string) => ({
      id,
      type: 'function',
      function: { name: 'get_weather', arguments: JSON.stringify({ city }) },
    });
    expect(messages).toEqual([
      { role: 'user', content: 'Lima and Cusco?' },
      {
        role: 'assistant',
        content: 'I look.',
        reasoning_content: 'Two calls',
        tool_calls: [turnCall('call_a', 'Lima'), turnCall('call_b', 'Cusco')],
      },
      { role: 'tool', content: '18', tool_call_id: 'call_a' },
      { role: 'tool', content: '12', tool_call_id: 'call_b' },
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'One more',
        tool_calls: [turnCall('call_c', 'Puno')],
      },
      { role: 'tool', content: '9', tool_call_id: 'call_c' },
    ]);
  });

  test('reasoning that nothing follows in its reply, or that is only encrypted, is left out', async () => {
    const messages = await messagesOf([
      { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm' }] },
      { role: 'user', content: 'Hello' },
      { type: 'reasoning', id: 'rs_2', summary: [], encrypted_content: 'gAAA' },
      { role: 'assistant', content: 'Hi' },
      { role: 'user', content: 'Bye' },
    ]);
    expect(messages).toEqual([
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hi' },
      { role: 'user', content: 'Bye' },
    ]);
  });

  test('a call that was cut and a result with half a character are taken back', async () => {
    const messages: any = await messagesOf([
      { role: 'user', content: 'Hello' },
      { type: 'function_call', name: 'f', arguments: '{"city":"Li', status: 'incomplete' },
      { type: 'function_call_output', output: 'a\ud800\0b' },
      { role: 'user', content: 'Go on' },
    ]);
    const { id, function: called } = messages[1].tool_calls[0];
    expect(called.arguments).toBe(JSON.stringify('{"city":"Li'));
    expect(messages[2]).toEqual({ role: 'tool', content: 'a\ufffd\ufffdb', tool_call_id: id });
  });

  test.each<[string, unknown, string?]>([
    ['input', undefined],
    ['input', null],
    ['input', []],
    ['input', 7],
    ['input.0', ['Hello']],
    ['input.0.type', [{ type: 'item_reference', id: 'msg_1' }], 'store: false'],
    [
      'input.1.type',
      [
        { role: 'user', content: 'x' },
        { type: 'web_search_call', id: 'ws_1' },
      ],
      '"web_search_call"',
    ],
    ['input.0.type', [{ type: 'computer_call_output', output: {} }], '"computer_call_output"'],
    ['input.0.role', [{ role: 'tool', content: 'x' }]],
    ['input.0.content.0.type', [{ role: 'user', content: [{ type: 'input_file', file_id: 'file_1' }] }]],
    ['input.0.content.0.type', [{ role: 'user', content: [{ type: 'input_audio' }] }]],
    [
      'input.0.content.0.image_url',
      [{ role: 'user', content: [{ type: 'input_image', file_id: 'file_1' }] }],
    ],
    [
      'input.0.content.0.image_url',
      [{ role: 'user', content: [{ type: 'input_image', image_url: 'https://x/y.png' }] }],
      'not fetched',
    ],
    ['input.0.content', [{ role: 'user', content: 'a\0b' }], 'NUL'],
    ['input.0.output', [{ type: 'function_call_output', call_id: 'c', output: { a: 1 } }]],
  ])('%s: %j is 400', async (param, input, message = '') => {
    const error = await refused({ input });
    expect(error).toMatchObject({ param, message: expect.stringContaining(message) });
  });
});

describe('fields', () => {
  test('become those of a chat', async () => {
    const { body, model, priority } = await asked({
      model: 'fast',
      max_output_tokens: 50,
      temperature: 0,
      top_p: 0.9,
      parallel_tool_calls: false,
      tools: [weather],
      tool_choice: 'required',
      reasoning: { effort: 'low', summary: 'auto' },
      top_logprobs: 2,
      service_tier: 'flex',
      seed: 7,
      top_k: 5,
    });
    expect(model).toBe('fast');
    expect(priority).toBe(-1);
    expect(body).toEqual({
      messages: [{ role: 'user', content: 'Hello' }],
      max_tokens: 50,
      temperature: 0,
      top_p: 0.9,
      parallel_tool_calls: false,
      tools: [
        { type: 'function', function: { name: 'get_weather', description: 'Weather', parameters: schema } },
      ],
      tool_choice: 'required',
      reasoning_effort: 'low',
      logprobs: true,
      top_logprobs: 2,
      seed: 7,
      top_k: 5,
    });
  });

  test.each<[string, unknown]>([
    ['text', { format: { type: 'text' }, verbosity: 'low' }],
    ['user', 'u1'],
    ['safety_identifier', 'u1'],
    ['prompt_cache_key', 'k'],
    ['prompt_cache_retention', '24h'],
    ['metadata', { a: 'b' }],
    ['include', ['reasoning.encrypted_content']],
    ['stream_options', { include_obfuscation: false }],
    ['service_tier', 'auto'],
    ['truncation', 'auto'],
    ['truncation', 'disabled'],
    ['store', true],
    ['store', false],
    ['background', false],
    ['max_tool_calls', 3],
    ['client_metadata', { a: 'b' }],
    ['reasoning', { summary: 'auto' }],
  ])('%s: %j tunes nothing here', async (name, value) => {
    expect((await asked({ [name]: value })).body).toEqual({ messages: [{ role: 'user', content: 'Hello' }] });
  });

  test.each([
    ...[
      'instructions',
      'tools',
      'tool_choice',
      'text',
      'reasoning',
      'max_output_tokens',
      'temperature',
      'top_p',
    ],
    ...[
      'top_logprobs',
      'metadata',
      'parallel_tool_calls',
      'truncation',
      'include',
      'stream',
      'stream_options',
    ],
    ...['user', 'safety_identifier', 'prompt_cache_key', 'service_tier', 'store', 'background', 'model'],
    ...[
      'previous_response_id',
      'conversation',
      'prompt',
      'context_management',
      'moderation',
      'max_tokens',
      'n',
    ],
    ...['response_format', 'grammar', 'messages', 'reasoning.effort', 'reasoning.summary', 'text.format'],
  ])('%s: null is not set', async (path) => {
    const [name, inner] = path.split('.') as [string, string?];
    const value = inner === undefined ? null : { [inner]: null };
    expect((await asked({ [name]: value })).body).toEqual({ messages: [{ role: 'user', content: 'Hello' }] });
  });

  test.each<[string, unknown, string?]>([
    ['previous_response_id', 'resp_1', 'not stored'],
    ['conversation', 'conv_1', 'not stored'],
    ['conversation', { id: 'conv_1' }, 'not stored'],
    ['background', true],
    ['prompt', { id: 'pmpt_1' }],
    ['context_management', [{ type: 'compaction' }]],
    ['moderation', { model: 'x' }],
    ['max_tokens', 5, 'max_output_tokens'],
    ['max_completion_tokens', 5, 'max_output_tokens'],
    ['response_format', { type: 'json_object' }, 'text.format'],
    ['guided_choice', ['a'], 'text.format'],
    ['grammar', 'root ::= "a"', 'text.format'],
    ['messages', [{ role: 'user', content: 'x' }], 'use input'],
    ['n', 2],
    ['max_output_tokens', 0],
    ['temperature', 9],
    ['top_p', 2],
    ['top_logprobs', 21],
    ['truncation', 'middle'],
    ['include', ['everything']],
    ['metadata', { a: 1 }],
    ['instructions', 7],
  ])('%s: %j is 400', async (name, value, message = '') => {
    const error = await refused({ [name]: value });
    expect(error.param).toMatch(new RegExp(`^${name}`));
    expect(error.message).toContain(message);
  });
});

describe('text.format', () => {
  const name = 'place';

  test.each<[string, object, object]>([
    ['json_object', { type: 'json_object' }, { type: 'json_object' }],
    [
      'json_schema',
      { type: 'json_schema', name, strict: true, schema, description: 'A place' },
      { type: 'json_schema', json_schema: { name, strict: true, schema } },
    ],
  ])('%s is the form of the reply', async (_type, format, expected) => {
    expect((await asked({ text: { format } })).body.response_format).toEqual(expected);
  });

  test('is left to the backend next to tools, and to the tools where a call is required', async () => {
    const text = { format: { type: 'json_schema', name, schema } };
    expect((await asked({ text, tools: [weather] })).body.response_format).toBeDefined();
    expect(
      (await asked({ text, tools: [weather], tool_choice: 'required' })).body.response_format,
    ).toBeUndefined();
  });

  test.each<[string, object]>([
    ['text.format.type', { type: 'grammar' }],
    ['text.format.schema', { type: 'json_schema', name }],
    ['text.format.schema', { type: 'json_schema', name, schema: { $ref: '#/nowhere' } }],
  ])('%s is 400', async (param, format) => {
    expect((await refused({ text: { format } })).param).toBe(param);
  });
});

describe('tools', () => {
  const team = {
    type: 'namespace',
    name: 'team',
    description: 'Agents',
    tools: [{ ...weather, name: 'close' }],
  };

  test('the functions of a namespace have its name before theirs', async () => {
    const { body } = await asked({
      tools: [time, team],
      input: [
        { role: 'user', content: 'x' },
        { type: 'function_call', call_id: 'c', name: 'close', namespace: 'team', arguments: '{}' },
        { type: 'function_call_output', call_id: 'c', output: 'ok' },
      ],
      tool_choice: { type: 'function', name: 'close', namespace: 'team' },
    });
    const names = (body.tools as any[]).map((tool) => tool.function.name);
    expect(names).toEqual(['get_time', 'team__close']);
    expect(body.tool_choice).toEqual({ type: 'function', function: { name: 'team__close' } });
    expect((body.messages as any[])[1].tool_calls[0].function.name).toBe('team__close');
  });

  test('a call of one has both names again, streamed or not', async () => {
    const generate = playing([call(0, '{}', 'team__close'), finish('tool_calls'), usage]);
    const expected = { type: 'function_call', name: 'close', namespace: 'team', call_id: 'call_0' };
    const { body } = await post(PATH, { input: 'x', tools: [team] }, { generate }).expect(200);
    expect(body.output).toMatchObject([expected]);
    const sent = await streamed(generate, { tools: [team] });
    expect(sent.at(-1).response.output).toMatchObject([expected]);
  });

  test('allowed_tools leaves out the others', async () => {
    const tool_choice = {
      type: 'allowed_tools',
      mode: 'required',
      tools: [{ type: 'function', name: 'get_time' }],
    };
    const { body } = await asked({ tools: [weather, time], tool_choice });
    expect((body.tools as any[]).map((tool) => tool.function.name)).toEqual(['get_time']);
    expect(body.tool_choice).toBe('required');
  });

  test.each<[string, object, string?]>([
    ['tools.0.type', { tools: [{ type: 'web_search', external_web_access: true }] }, '"web_search"'],
    ['tools.1.type', { tools: [weather, { type: 'custom', name: 'apply_patch' }] }, '"custom"'],
    ['tools.0.type', { tools: [{ type: 'local_shell' }] }, '"local_shell"'],
    ['tools.0.type', { tools: [{ type: 'mcp', server_label: 'x' }] }, '"mcp"'],
    ['tools.0.tools.0.type', { tools: [{ ...team, tools: [{ type: 'custom', name: 'x' }] }] }, '"custom"'],
    ['tools.0.name', { tools: [{ type: 'function', name: 'a b' }] }],
    ['tools', { tools: [weather, weather] }, 'twice'],
    ['tools.0.parameters', { tools: [{ ...weather, parameters: { type: 'nothing' } }] }],
    ['tool_choice', { tool_choice: 'required' }],
    ['tool_choice', { tools: [weather], tool_choice: { type: 'function', name: 'nobody' } }],
    [
      'tool_choice.type',
      { tools: [weather], tool_choice: { type: 'web_search_preview' } },
      '"web_search_preview"',
    ],
    ['tool_choice.type', { tools: [weather], tool_choice: { type: 'custom', name: 'x' } }, '"custom"'],
    [
      'tool_choice.tools',
      {
        tools: [weather],
        tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'x' }] },
      },
    ],
  ])('%s: %j is 400', async (param, body, message = '') => {
    expect(await refused(body)).toMatchObject({ param, message: expect.stringContaining(message) });
  });
});

describe('a reply in one piece', () => {
  test('is the whole response object with the settings of the request', async () => {
    const { body } = await post(PATH, {
      input: 'Hello',
      instructions: 'Be brief.',
      metadata: { a: 'b' },
      temperature: 0.5,
      tools: [weather],
      store: true,
      truncation: 'auto',
      prompt_cache_key: 'k',
    }).expect(200);
    expect(body).toEqual({
      id: expect.stringMatching(/^resp_[0-9a-f]{48}$/),
      object: 'response',
      created_at: expect.any(Number),
      completed_at: expect.any(Number),
      status: 'completed',
      error: null,
      incomplete_details: null,
      model: 'test-model',
      output: [
        {
          id: expect.stringMatching(/^msg_[0-9a-f]{48}$/),
          type: 'message',
          status: 'completed',
          role: 'assistant',
          content: [{ type: 'output_text', annotations: [], logprobs: [], text: 'Hello world' }],
        },
      ],
      usage: {
        input_tokens: 7,
        input_tokens_details: { cache_write_tokens: 0, cached_tokens: 3 },
        output_tokens: 2,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: 9,
      },
      background: false,
      instructions: 'Be brief.',
      max_output_tokens: null,
      metadata: { a: 'b' },
      parallel_tool_calls: true,
      previous_response_id: null,
      prompt_cache_key: 'k',
      reasoning: { effort: null, summary: null },
      safety_identifier: null,
      service_tier: 'default',
      store: false,
      temperature: 0.5,
      text: { format: { type: 'text' }, verbosity: 'medium' },
      tool_choice: 'auto',
      tools: [weather],
      top_logprobs: 0,
      top_p: null,
      truncation: 'disabled',
      user: null,
    });
  });

  test('has reasoning, text and calls as items in this order', async () => {
    const generate = playing([
      ...[
        thought('Hm'),
        thought('m'),
        text('I look.'),
        call(0, '{"city":', 'get_weather'),
        call(0, '"Lima"}'),
      ],
      ...[call(1, '{}', 'get_time'), finish('tool_calls'), usage],
    ]);
    const { body } = await post(PATH, { input: 'x', tools: [weather, time] }, { generate }).expect(200);
    expect(body.output).toMatchObject([
      { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'Hmm' }] },
      { type: 'message', content: [{ text: 'I look.' }] },
      { type: 'function_call', call_id: 'call_0', name: 'get_weather', arguments: '{"city":"Lima"}' },
      { type: 'function_call', call_id: 'call_1', name: 'get_time', arguments: '{}' },
    ]);
    for (const { id, status } of body.output) {
      expect(id).toMatch(ID);
      expect(status).toBe('completed');
    }
    expect(body.usage.output_tokens_details).toEqual({ reasoning_tokens: 2 });
  });

  test('has its reasoning as a summary where the client asks for one', async () => {
    const generate = playing([thought('Hm'), ...events('Hi')]);
    const asked = { input: 'x', reasoning: { summary: 'auto' } };
    const { body } = await post(PATH, asked, { generate });
    expect(body.output[0]).toEqual({
      id: expect.stringMatching(/^rs_/),
      type: 'reasoning',
      status: 'completed',
      summary: [{ type: 'summary_text', text: 'Hm' }],
    });
  });

  test.each<[FinishReason, string]>([
    ['length', 'max_output_tokens'],
    ['content_filter', 'content_filter'],
  ])('that ends with %s is incomplete', async (reason, why) => {
    const generate = playing([thought('Hm'), text('Cev'), finish(reason), usage]);
    const { body } = await post(PATH, { input: 'x' }, { generate }).expect(200);
    expect(body).toMatchObject({ status: 'incomplete', incomplete_details: { reason: why }, error: null });
    expect(body.output.map((item: any) => item.status)).toEqual(['completed', 'incomplete']);
    expect(body.completed_at).toBeUndefined();
  });

  test('without text has an empty message', async () => {
    const { body } = await post(PATH, { input: 'x' }, { generate: playing([finish('stop'), usage]) });
    expect(body.output).toMatchObject([{ type: 'message', content: [{ text: '' }] }]);
  });

  test('has log probabilities if they are included or counted', async () => {
    const token = {
      token: 'Hi',
      logprob: -1,
      bytes: [72, 105],
      top_logprobs: [{ token: 'Hi', logprob: -1, bytes: null }],
    };
    const generate = playing([
      { type: 'text', index: 0, text: 'Hi', logprobs: [token] },
      finish('stop'),
      usage,
    ]);
    const include = ['message.output_text.logprobs'];
    const { body } = await post(PATH, { input: 'x', include, top_logprobs: 1 }, { generate });
    expect(body.output[0].content[0].logprobs).toEqual([token]);
    const { body: none } = await post(PATH, { input: 'x', include }, { generate });
    expect(none.output[0].content[0].logprobs).toEqual([{ ...token, top_logprobs: [] }]);
    expect(generate.requests[1]!.body).toMatchObject({ logprobs: true, top_logprobs: 1 });
  });

  test('that fails has its own status, in OpenAI’s form', async () => {
    const generate = failing(new LMServError('queue_full'));
    const { body, headers } = await post(PATH, { input: 'x' }, { generate }).expect(503);
    expect(body.error).toMatchObject({ code: 'queue_full', type: 'service_unavailable_error', param: null });
    expect(headers['retry-after']).toBe('1');
  });
});

/** The events of a streamed reply; each has the name that its data repeats, and the numbers have no gap. */
async function streamed(
  script: Parameters<typeof playing>[0] | ReturnType<typeof playing>,
  more: object = {},
) {
  const generate = typeof script === 'function' && 'requests' in script ? script : playing(script);
  const response = await post(PATH, { input: 'x', stream: true, ...more }, { generate }).expect(200);
  expect(response.headers['content-type']).toBe('text/event-stream; charset=utf-8');
  const blocks = response.text.split('\n\n').filter((block) => block !== '');
  return blocks.map((block, number) => {
    const [, name, data] = /^event: (\S+)\ndata: (.*)$/.exec(block)!;
    const event = JSON.parse(data!);
    expect(event).toMatchObject({ type: name, sequence_number: number });
    return event;
  });
}

const typesOf = (sent: readonly { type: string }[]) => sent.map(({ type }) => type.replace('response.', ''));

const MESSAGE = (deltas: number) => [
  ...['output_item.added', 'content_part.added', ...Array(deltas).fill('output_text.delta')],
  ...['output_text.done', 'content_part.done', 'output_item.done'],
];
const CALL = (deltas: number) => [
  ...['output_item.added', ...Array(deltas).fill('function_call_arguments.delta')],
  ...['function_call_arguments.done', 'output_item.done'],
];

describe('a streamed reply', () => {
  test('has OpenAI’s events in their order, and no [DONE]', async () => {
    const sent = await streamed(events('Hi', ' there'));
    expect(typesOf(sent)).toEqual(['created', 'in_progress', ...MESSAGE(2), 'completed']);
    const [created, inProgress, added, part, first, second, done, partDone, itemDone, completed] = sent;
    expect(created.response).toMatchObject({
      status: 'in_progress',
      output: [],
      usage: null,
      model: 'test-model',
    });
    expect(inProgress.response).toEqual(created.response);
    const { id } = added.item;
    const at = { item_id: id, output_index: 0, content_index: 0 };
    expect(added).toMatchObject({ output_index: 0, item: { id, status: 'in_progress', content: [] } });
    expect(part).toMatchObject({ ...at, part: { type: 'output_text', text: '', annotations: [] } });
    expect(first).toMatchObject({ ...at, delta: 'Hi', logprobs: [] });
    expect(second).toMatchObject({ ...at, delta: ' there' });
    expect(done).toMatchObject({ ...at, text: 'Hi there', logprobs: [] });
    expect(partDone).toMatchObject({ ...at, part: { type: 'output_text', text: 'Hi there' } });
    expect(itemDone.item).toMatchObject({ id, status: 'completed', content: [{ text: 'Hi there' }] });
    expect(completed.response).toMatchObject({
      id: created.response.id,
      status: 'completed',
      output: [itemDone.item],
      usage: {
        input_tokens: 7,
        output_tokens: 2,
        total_tokens: 9,
        input_tokens_details: { cached_tokens: 3 },
      },
    });
  });

  test('is the same response as one that is not streamed', async () => {
    const script = [
      ...[
        thought('Hm'),
        text('I look.'),
        call(0, '{"city":"Lima"}', 'get_weather'),
        finish('tool_calls'),
        usage,
      ],
    ];
    const body = { tools: [weather], temperature: 0 };
    const sent = await streamed(script, body);
    const whole = await post(PATH, { input: 'x', ...body }, { generate: playing(script) });
    const withoutIds = (value: object) => JSON.stringify(value).replace(/_[0-9a-f]{48}|"\w+_at":\d+/g, '');
    expect(withoutIds(sent.at(-1).response)).toBe(withoutIds(whole.body));
  });

  test('has reasoning in an item of its own', async () => {
    const sent = await streamed([thought('Hm'), thought('m'), ...events('Hi')]);
    expect(typesOf(sent)).toEqual([
      ...['created', 'in_progress', 'output_item.added', 'content_part.added', 'reasoning_text.delta'],
      ...['reasoning_text.delta', 'reasoning_text.done', 'content_part.done', 'output_item.done'],
      ...[...MESSAGE(1), 'completed'],
    ]);
    expect(sent[8].item).toMatchObject({
      type: 'reasoning',
      content: [{ type: 'reasoning_text', text: 'Hmm' }],
    });
    expect(sent.at(-1).response.usage.output_tokens_details).toEqual({ reasoning_tokens: 1 });
  });

  test('has it as a summary where the client asks for one', async () => {
    const sent = await streamed([thought('Hm'), ...events('Hi')], { reasoning: { summary: 'concise' } });
    expect(typesOf(sent).slice(2, 8)).toEqual([
      ...['output_item.added', 'reasoning_summary_part.added', 'reasoning_summary_text.delta'],
      ...['reasoning_summary_text.done', 'reasoning_summary_part.done', 'output_item.done'],
    ]);
    expect(sent[4]).toMatchObject({ summary_index: 0, output_index: 0, delta: 'Hm' });
    expect(sent[7].item).toMatchObject({ summary: [{ type: 'summary_text', text: 'Hm' }] });
  });

  test('has calls one after the other', async () => {
    const sent = await streamed([
      ...[call(0, '', 'get_weather'), call(0, '{"city":'), call(0, '"Lima"}'), call(1, '{}', 'get_time')],
      ...[finish('tool_calls'), usage],
    ]);
    expect(typesOf(sent)).toEqual(['created', 'in_progress', ...CALL(2), ...CALL(1), 'completed']);
    const [, , added, first, , done, itemDone, second] = sent;
    const called = { id: added.item.id, type: 'function_call', call_id: 'call_0', name: 'get_weather' };
    expect(added.item).toEqual({ ...called, status: 'in_progress', arguments: '' });
    expect(first).toMatchObject({ item_id: called.id, output_index: 0, delta: '{"city":' });
    expect(done).toMatchObject({ item_id: called.id, name: 'get_weather', arguments: '{"city":"Lima"}' });
    expect(itemDone.item).toEqual({ ...called, status: 'completed', arguments: '{"city":"Lima"}' });
    expect(second).toMatchObject({ output_index: 1, item: { call_id: 'call_1', name: 'get_time' } });
    expect(sent.at(-1).response.status).toBe('completed');
  });

  test('puts calls together whose parts are mixed', async () => {
    const sent = await streamed([
      ...[
        call(0, '{"a":', 'f'),
        call(1, '{"b":', 'g'),
        call(0, '1}'),
        call(1, '2}'),
        finish('tool_calls'),
        usage,
      ],
    ]);
    expect(sent.at(-1).response.output).toMatchObject([
      { name: 'f', arguments: '{"a":1}' },
      { name: 'g', arguments: '{"b":2}' },
    ]);
    expect(sent.filter(({ type }) => type === 'response.output_item.done')).toHaveLength(2);
  });

  test('that is cut ends with response.incomplete', async () => {
    const sent = await streamed([call(0, '{"city":"Li', 'get_weather'), finish('length'), usage]);
    expect(typesOf(sent)).toEqual(['created', 'in_progress', ...CALL(1), 'incomplete']);
    const { response } = sent.at(-1);
    expect(response).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
    });
    expect(response.output).toMatchObject([{ status: 'incomplete', arguments: '{"city":"Li' }]);
  });

  test('without text has an empty message', async () => {
    const sent = await streamed([finish('stop'), usage]);
    expect(typesOf(sent)).toEqual(['created', 'in_progress', ...MESSAGE(1), 'completed']);
  });

  test('has log probabilities with each piece', async () => {
    const token = {
      token: 'Hi',
      logprob: -1,
      bytes: [72, 105],
      top_logprobs: [{ token: 'Hi', logprob: -1 }],
    };
    const script: ReplyEvent[] = [
      { type: 'text', index: 0, text: 'Hi', logprobs: [token] },
      finish('stop'),
      usage,
    ];
    const sent = await streamed(script, { top_logprobs: 1 });
    expect(sent[4]).toMatchObject({ delta: 'Hi', logprobs: [token] });
    expect(sent[5]).toMatchObject({ text: 'Hi', logprobs: [token] });
  });

  test('that breaks off ends with an error and response.failed', async () => {
    const sent = await streamed(failing(new LMServError('generation_failed'), ...events('Hi').slice(0, 2)));
    expect(typesOf(sent).slice(-2)).toEqual(['error', 'failed']);
    const error = { code: 'generation_failed', message: 'The generation failed', param: null };
    expect(sent.at(-2)).toMatchObject({ ...error, error });
    expect(sent.at(-1).response).toMatchObject({
      status: 'failed',
      error: { code: 'server_error', message: error.message },
      output: [{ status: 'incomplete', content: [{ text: 'Hi' }] }],
    });
  });

  test('beyond 16 Mi characters, which its last events would repeat, breaks off', async () => {
    // Each counts as 64 characters.
    const logprobs = Array(262_144).fill({ token: 'a', logprob: 0 });
    const sent = await streamed([
      text('Hi'),
      { type: 'text', index: 0, text: '', logprobs },
      finish('stop'),
      usage,
    ]);
    expect(typesOf(sent).slice(-2)).toEqual(['error', 'failed']);
    expect(sent.at(-2).message).toContain('16 Mi characters');
  });

  test('that fails before its first event has a status', async () => {
    const generate = failing(new LMServError('model_not_found', undefined, { param: 'model' }));
    const { body } = await post(PATH, { input: 'x', stream: true }, { generate }).expect(404);
    expect(body.error).toMatchObject({ code: 'model_not_found', param: 'model' });
  });
});

describe('stored replies', () => {
  const id = `${PATH}/resp_1`;

  test.each<['get' | 'post' | 'delete', string]>([
    ['get', id],
    ['delete', id],
    ['post', `${id}/cancel`],
    ['get', `${id}/input_items`],
    ['post', `${PATH}/compact`],
    ['get', '/responses/resp_1'],
  ])('%s %s is 404', async (method, path) => {
    const app = testApp();
    const { body } = await request(app)[method](path).set('X-API-Key', KEY).expect(404);
    expect(body.error).toEqual({
      message: expect.stringContaining('not stored'),
      type: 'invalid_request_error',
      param: null,
      code: 'not_found',
    });
    await request(app)[method](path).expect(401);
  });

  test('and other methods of the route itself are 405', async () => {
    await get(PATH).expect(405);
  });
});

describe('Codex', () => {
  /** A conversation of two questions as `codex exec` sent it in three requests, each longer than the one before. */
  const { turns, last } = JSON.parse(readFileSync(join(ROOT, 'test/recorded/codex.json'), 'utf8')) as {
    turns: number[];
    last: { input: object[]; tools: object[] };
  };
  const requestAt = (turn: number) => ({ ...last, input: last.input.slice(0, turns[turn]) });
  const OPTIONS = { maxBodyBytes: 100_000 };

  test('is served, and what a request adds comes after what the one before had', async () => {
    const generate = saying('Done.');
    const bodies = [];
    for (const turn of turns.keys()) {
      await post(PATH, requestAt(turn), { generate, ...OPTIONS }).expect(200);
      const { messages, ...others } = generate.requests[turn]!.body as { messages: any[] };
      bodies.push({ messages, others });
    }
    const [first, second, third] = bodies;
    for (const [before, after] of [
      [first!, second!],
      [second!, third!],
    ] as const) {
      expect(after.messages.slice(0, before.messages.length)).toEqual(before.messages);
      expect(after.others).toEqual(before.others);
    }
    expect(third!.messages.map(({ role }) => role)).toEqual([
      ...['system', 'system', 'user', 'user', 'assistant', 'tool', 'assistant', 'system', 'user', 'user'],
    ]);
    expect(third!.messages[4]).toMatchObject({
      reasoning_content: 'CONTENT',
      tool_calls: [{ id: 'call_1', function: { name: 'exec_command', arguments: '{"cmd":"ls"}' } }],
    });
  });

  test('learns by name which of its tools it has to turn off', async () => {
    const tools = [...last.tools, { type: 'web_search', external_web_access: true }];
    const { body } = await post(PATH, { ...last, tools }, OPTIONS).expect(400);
    expect(body.error).toMatchObject({
      param: `tools.${last.tools.length}.type`,
      message: expect.stringMatching(/"web_search" is not supported here; .* turn it off in the client/),
    });
  });
});
