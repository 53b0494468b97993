import supertest from 'supertest';
import type {
  FinishReason,
  GenerateRequest,
  ReplyEvent,
  TokenQuestion,
  ToolCallDelta,
} from '../../../src/contract.js';
import { messages } from '../../../src/dialects/anthropic/messages.js';
import { newTrace } from '../../../src/generate/trace.js';
import { LMServError, type ErrorCode } from '../../../src/errors.js';
import { events, failing, get, KEY, playing, post, saying, testApp } from '../../support/app.js';

/** Anthropic's Messages: what reaches the backend, and what its reply looks like. */

const PATH = '/v1/messages';
const user = { role: 'user', content: 'hi' };
const tool = { name: 'f', description: 'd', input_schema: { type: 'object', properties: {} } };
const openAiTool = (name = 'f') => ({
  type: 'function',
  function: { name, description: 'd', parameters: { type: 'object', properties: {} } },
});
const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } };
const imagePart = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } };
const text = (words: string) => ({ type: 'text', text: words });
const use = (fields: object = {}) => ({ type: 'tool_use', id: 'c', name: 'f', input: { a: 1 }, ...fields });
const result = (fields: object = {}) => ({ type: 'tool_result', tool_use_id: 'c', content: 'r', ...fields });
const call = (json = '{"a":1}', id = 'c', name = 'f') => ({
  id,
  type: 'function',
  function: { name, arguments: json },
});

/** The request that reaches the backend. */
async function sent(fields: object): Promise<GenerateRequest> {
  const generate = saying('x');
  const asked = { model: 'm', max_tokens: 5, messages: [user], ...fields };
  await post(PATH, asked, { generate }).expect(200);
  return generate.requests[0]!;
}

const history = async (...messages: object[]) => (await sent({ messages })).body.messages as any[];

async function refused(fields: object): Promise<string> {
  const generate = saying('x');
  const { body } = await post(PATH, { max_tokens: 5, messages: [user], ...fields }, { generate }).expect(400);
  expect(body).toMatchObject({ type: 'error', error: { type: 'invalid_request_error' } });
  expect(generate.requests).toEqual([]);
  return body.error.message as string;
}

describe('fields', () => {
  test('become those of a chat', async () => {
    const request = await sent({
      system: 's',
      temperature: 0.5,
      top_p: 0.9,
      top_k: 5,
      stop_sequences: ['END'],
      metadata: { user_id: 'u' },
      service_tier: 'auto',
      cache_control: { type: 'ephemeral' },
      speed: 'standard',
    });
    expect(request).toEqual({
      kind: 'chat',
      n: 1,
      model: 'm',
      body: {
        messages: [{ role: 'system', content: 's' }, user],
        max_tokens: 5,
        ...{ temperature: 0.5, top_p: 0.9, top_k: 5, stop: ['END'] },
      },
    });
  });

  test('that are null or empty are not set', async () => {
    const unset = {
      ...{ model: null, max_tokens: null, system: null, temperature: null, top_p: null, top_k: null },
      ...{ stop_sequences: [], tools: [], tool_choice: null, thinking: null, output_config: {} },
      ...{ output_format: null, metadata: {}, container: null, mcp_servers: [], context_management: null },
      stream: null,
    };
    expect(await sent(unset)).toEqual({ kind: 'chat', n: 1, model: undefined, body: { messages: [user] } });
  });

  test.each([
    [{ type: 'disabled' }, { chat_template_kwargs: { enable_thinking: false } }],
    [
      { type: 'enabled', budget_tokens: 2048 },
      { chat_template_kwargs: { enable_thinking: true }, thinking_budget_tokens: 2048 },
    ],
    [{ type: 'adaptive', display: 'summarized' }, {}],
    [{ type: 'between_tools' }, {}],
  ])('thinking %j', async (thinking, fields) => {
    expect((await sent({ thinking })).body).toEqual({ messages: [user], max_tokens: 5, ...fields });
  });

  test.each([
    ['low', 'low'],
    ['medium', 'medium'],
    ['high', 'high'],
    ['xhigh', 'high'],
    ['max', 'high'],
  ])('the effort %s is %s', async (effort, known) => {
    expect((await sent({ output_config: { effort } })).body.reasoning_effort).toBe(known);
  });

  const schema = { type: 'object', properties: { a: { type: 'integer' } } };
  const format = { type: 'json_schema', schema };
  const response_format = { type: 'json_schema', json_schema: { schema } };

  test.each([{ output_config: { format } }, { output_format: format }])('a form: %j', async (fields) => {
    expect((await sent(fields)).body.response_format).toEqual(response_format);
    const forced = { ...fields, tools: [tool], tool_choice: { type: 'any' } };
    expect((await sent(forced)).body.response_format).toBeUndefined();
    expect((await sent({ ...fields, tools: [tool] })).body).toMatchObject({ response_format });
    const none = { ...fields, tools: [tool], tool_choice: { type: 'none' } };
    expect((await sent(none)).body).toMatchObject({ response_format });
  });

  test.each<[string, object]>([
    ['messages: must be a list', { messages: 'hi' }],
    ['messages: must have at least 1 elements', { messages: [] }],
    ['max_tokens: ', { max_tokens: 0 }],
    ['temperature: ', { temperature: 9 }],
    ['stop_sequences', { stop_sequences: [5] }],
    ['thinking.budget_tokens: ', { thinking: { type: 'enabled', budget_tokens: 0 } }],
    ['output_config.effort: ', { output_config: { effort: 'huge' } }],
    ['output_config.format', { output_config: { format: { type: 'json_schema', schema: { type: 'any' } } } }],
    ['output_format: cannot be combined', { output_format: format, output_config: { format } }],
    ['container: is not supported', { container: 'c' }],
    ['mcp_servers: is not supported', { mcp_servers: [{ type: 'url', url: 'https://x', name: 'x' }] }],
    ['fallbacks: is not supported', { fallbacks: [{ model: 'm' }] }],
    ['inference_geo: is not supported', { inference_geo: 'us' }],
    ['context_management.edits.0', { context_management: { edits: [{ type: 'compact_20260112' }] } }],
  ])('what cannot be done is 400 that says %s', async (message, fields) => {
    expect(await refused(fields)).toContain(message);
  });
});

describe('the conversation', () => {
  test.each<[string, object, object]>([
    ['text', { role: 'user', content: 'a' }, { role: 'user', content: 'a' }],
    ['null', { role: 'user', content: null }, { role: 'user', content: '' }],
    ['nothing', { role: 'user' }, { role: 'user', content: '' }],
    ['no blocks', { role: 'user', content: [] }, { role: 'user', content: '' }],
    ['a block', { role: 'user', content: [text('a')] }, { role: 'user', content: 'a' }],
    ['a text among blocks', { role: 'user', content: ['a', text('b')] }, { role: 'user', content: 'a\n\nb' }],
    [
      'blocks with cache_control and citations',
      {
        role: 'user',
        content: [{ ...text('a'), cache_control: { type: 'ephemeral' }, citations: null }, text('b')],
      },
      { role: 'user', content: 'a\n\nb' },
    ],
    [
      'an image',
      { role: 'user', content: [text('a'), image] },
      { role: 'user', content: [text('a'), imagePart] },
    ],
    [
      'a document of text',
      {
        role: 'user',
        content: [
          { type: 'document', title: 'T', source: { type: 'text', media_type: 'text/plain', data: 'D' } },
          { type: 'document', source: { type: 'content', content: [text('E')] } },
        ],
      },
      { role: 'user', content: 'T\n\nD\n\nE' },
    ],
    [
      'a search result',
      {
        role: 'user',
        content: [{ type: 'search_result', title: 'T', source: 'S', content: [text('C')] }],
      },
      { role: 'user', content: 'T\n\nS\n\nC' },
    ],
    ['a system turn', { role: 'system', content: [text('a')] }, { role: 'system', content: 'a' }],
    ['an assistant', { role: 'assistant', content: 'a' }, { role: 'assistant', content: 'a' }],
    [
      'an assistant with citations',
      { role: 'assistant', content: [text('a'), text('b')] },
      { role: 'assistant', content: 'ab' },
    ],
    [
      'thinking',
      {
        role: 'assistant',
        content: [{ type: 'thinking', thinking: 'hm', signature: 's' }, text('a')],
      },
      { role: 'assistant', content: 'a', reasoning_content: 'hm' },
    ],
    [
      'thinking that only Anthropic reads',
      { role: 'assistant', content: [{ type: 'redacted_thinking', data: 'x' }, text('a')] },
      { role: 'assistant', content: 'a' },
    ],
    [
      'a call',
      { role: 'assistant', content: [text('a'), use(), use({ id: 'd', input: {} })] },
      { role: 'assistant', content: 'a', tool_calls: [call(), call('{}', 'd')] },
    ],
    [
      'a call alone',
      { role: 'assistant', content: [use({ input: null, caller: { type: 'direct' } })] },
      { role: 'assistant', content: null, tool_calls: [call('{}')] },
    ],
    [
      'a call that was cut',
      { role: 'assistant', content: [use({ input: '{"a":' })] },
      { role: 'assistant', content: null, tool_calls: [call('"{\\"a\\":"')] },
    ],
    [
      'what no tokeniser takes',
      { role: 'assistant', content: [text('a\0'), use({ input: { a: '\ud83d' } })] },
      { role: 'assistant', content: 'a\ufffd', tool_calls: [call('{"a":"\ufffd"}')] },
    ],
  ])('%s', async (_name, given, expected) => {
    expect((await history(user, given, user))[1]).toEqual(expected);
  });

  test('keeps the order of turns; the last one may be the assistant’s, which is continued', async () => {
    const turns = ['user', 'user', 'system', 'assistant', 'assistant'].map((role) => ({
      role,
      content: role,
    }));
    expect(await history(...turns)).toEqual(turns);
  });

  test('results come before what the user says, with their images', async () => {
    const messages = await history(
      user,
      { role: 'assistant', content: [use(), use({ id: 'd' })] },
      {
        role: 'user',
        content: [
          text('look'),
          result({ content: [text('one'), image, text('two')] }),
          result({ tool_use_id: 'd', is_error: true, content: 'gone', cache_control: { type: 'ephemeral' } }),
        ],
      },
    );
    expect(messages.slice(2)).toEqual([
      { role: 'tool', tool_call_id: 'c', content: 'one\n\n(an image, shown below)\n\ntwo' },
      { role: 'tool', tool_call_id: 'd', content: 'Error: gone' },
      { role: 'user', content: [imagePart, text('look')] },
    ]);
  });

  test.each([[undefined], [null], [''], [[]]])('a result may be empty: %j', async (content) => {
    const messages = await history(
      user,
      { role: 'assistant', content: [use()] },
      { role: 'user', content: [result({ content })] },
    );
    expect(messages.slice(2)).toEqual([{ role: 'tool', tool_call_id: 'c', content: '' }]);
  });

  test.each([
    ['s', 's'],
    [[text('a'), text(''), { ...text('b'), cache_control: { type: 'ephemeral', ttl: '1h' } }], 'a\n\nb'],
    ['x-anthropic-billing-header: cc_version=2.1.100.7b4; cch=eb6c6;\ns', 's'],
    [[text('x-anthropic-billing-header: cc_version=2.1.332.16f; cc_entrypoint=cli;'), text('s')], 's'],
  ])('begins with the system: %j', async (system, content) => {
    expect((await sent({ system })).body.messages).toEqual([{ role: 'system', content }, user]);
  });

  test.each<[string, object]>([
    [
      'messages.1.content.0.source.type: must be base64',
      { ...image, source: { type: 'url', url: 'https://x' } },
    ],
    [
      'messages.1.content.0.source.media_type',
      { ...image, source: { ...image.source, media_type: 'text/html' } },
    ],
    ['messages.1.content.0.source.data', { ...image, source: { ...image.source, data: '"' } }],
    ['"video"', { type: 'video' }],
    ['"base64"', { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: '' } }],
    ['messages.1.content.0.text', text('a\0')],
    ['"thinking"', { type: 'thinking', thinking: 'hm' }],
  ])('what nobody can read is 400 that says %s', async (message, block) => {
    expect(await refused({ messages: [user, { role: 'user', content: [block] }] })).toContain(message);
  });

  test('an unknown role is 400', async () => {
    expect(await refused({ messages: [{ role: 'tool', content: 'a' }] })).toContain('messages.0.role');
  });
});

describe('tools', () => {
  test.each([
    [undefined, {}],
    [{ type: 'auto' }, { tool_choice: 'auto' }],
    [
      { type: 'any', disable_parallel_tool_use: true },
      { tool_choice: 'required', parallel_tool_calls: false },
    ],
    [{ type: 'none' }, { tool_choice: 'none' }],
    [{ type: 'tool', name: 'f' }, { tool_choice: { type: 'function', function: { name: 'f' } } }],
    [{ type: 'auto', disable_parallel_tool_use: false }, { tool_choice: 'auto' }],
  ])('with the choice %j', async (tool_choice, expected) => {
    const fields = { ...tool, type: 'custom', strict: true, cache_control: { type: 'ephemeral' } };
    const { body } = await sent({ tools: [fields], tool_choice });
    expect(body).toEqual({ messages: [user], max_tokens: 5, tools: [openAiTool()], ...expected });
  });

  test.each<[string, object]>([
    [
      'tools.1.type: "web_search_20250305" is a tool of Anthropic',
      { type: 'web_search_20250305', name: 'web_search' },
    ],
    ['tools.1.type: "bash_20250124"', { type: 'bash_20250124', name: 'bash' }],
    ['tools.1.name', { ...tool, name: 'a b' }],
    [
      'tools.1.input_schema: the schema of g has the type "any"',
      { name: 'g', input_schema: { type: 'any' } },
    ],
  ])('what cannot be called is 400 that says %s', async (message, other) => {
    expect(await refused({ tools: [tool, other] })).toContain(message);
  });

  test.each([
    [{ type: 'any' }, { tools: [] }, 'any without any tools'],
    [{ type: 'tool', name: 'g' }, { tools: [tool] }, 'not in tools'],
    [{ type: 'required' }, { tools: [tool] }, 'tool_choice'],
  ])('the choice %j of %j is 400', async (tool_choice, tools, message) => {
    expect(await refused({ ...tools, tool_choice })).toContain(message);
  });

  describe('that are loaded later', () => {
    const named = (name: string, fields: object = {}) => ({ ...tool, name, ...fields });
    const later = { defer_loading: true };
    const tools = [named('a'), named('b', later), named('c', later), named('d')];
    const seen = async (...messages: object[]) =>
      ((await sent({ tools, messages: [user, ...messages] })).body.tools as any[]).map(
        (one) => one.function.name,
      );
    const reference = (name: string) => ({
      role: 'user',
      content: [result({ content: [{ type: 'tool_reference', tool_name: name }] })],
    });
    const change = (type: string, name: string) => ({
      role: 'system',
      content: [{ type, tool: { type: 'tool_reference', name } }],
    });

    test('are offered once the conversation refers to them, behind those that were there before', async () => {
      expect(await seen()).toEqual(['a', 'd']);
      expect(await seen(reference('c'))).toEqual(['a', 'd', 'c']);
      expect(await seen(reference('c'), reference('b'))).toEqual(['a', 'd', 'c', 'b']);
      expect(await seen({ role: 'assistant', content: [use({ name: 'b' })] })).toEqual(['a', 'd', 'b']);
      expect(await seen(change('tool_addition', 'b'))).toEqual(['a', 'd', 'b']);
      expect(await seen(change('tool_removal', 'a'))).toEqual(['d']);
    });

    test('are offered if they must be called', async () => {
      const { body } = await sent({ tools, tool_choice: { type: 'tool', name: 'c' } });
      expect((body.tools as any[]).map((one) => one.function.name)).toEqual(['a', 'd', 'c']);
    });

    test('are named in the result that refers to them', async () => {
      expect((await history(user, { role: 'assistant', content: [use()] }, reference('c')))[2]).toEqual({
        role: 'tool',
        tool_call_id: 'c',
        content: 'The tool c can be called now.',
      });
    });
  });
});

const asked = { model: 'm', max_tokens: 5, messages: [user] };
const whole = async (script: readonly ReplyEvent[], fields: object = {}) =>
  (await post(PATH, { ...asked, ...fields }, { generate: playing(script) }).expect(200)).body;

/** The events of a stream, by their data; each is named as its data is. */
async function streamed(script: readonly ReplyEvent[], fields: object = {}): Promise<any[]> {
  const generate = playing(script);
  const reply = await post(PATH, { ...asked, stream: true, ...fields }, { generate }).expect(200);
  expect(reply.headers['content-type']).toBe('text/event-stream; charset=utf-8');
  return reply.text
    .split('\n\n')
    .filter(Boolean)
    .map((one) => {
      const [, name, data] = /^event: (.+)\ndata: (.+)$/.exec(one)!;
      const parsed = JSON.parse(data!) as { type: string };
      expect(parsed.type).toBe(name);
      return parsed;
    });
}

const usage: ReplyEvent = { type: 'usage', usage: { promptTokens: 7, completionTokens: 4, cachedTokens: 3 } };
const finish = (reason: FinishReason, stop?: string): ReplyEvent => ({
  type: 'finish',
  index: 0,
  reason,
  stop,
});
const calling = (fields: ToolCallDelta): ReplyEvent => ({ type: 'tool_call', index: 0, call: fields });
const MIXED: readonly ReplyEvent[] = [
  { type: 'prefill', promptTokens: 7 },
  { type: 'reasoning', index: 0, text: 'h' },
  { type: 'reasoning', index: 0, text: 'm' },
  { type: 'text', index: 0, text: 'Let me ' },
  { type: 'text', index: 0, text: 'look.' },
  calling({ index: 0, id: 'c', name: 'f', arguments: '{"a"' }),
  calling({ index: 0, arguments: ':1}' }),
  calling({ index: 1, id: 'd', name: 'g' }),
  calling({ index: 1, arguments: '{}' }),
  finish('tool_calls'),
  usage,
];

describe('a reply', () => {
  test('has blocks of thinking, text and calls', async () => {
    const { id, ...message } = await whole(MIXED);
    expect(id).toMatch(/^msg_[\w-]+$/);
    expect(message).toEqual({
      type: 'message',
      role: 'assistant',
      model: 'test-model',
      content: [
        { type: 'thinking', thinking: 'hm', signature: 'lmserv' },
        { type: 'text', text: 'Let me look.', citations: null },
        { type: 'tool_use', id: 'c', name: 'f', input: { a: 1 }, caller: { type: 'direct' } },
        { type: 'tool_use', id: 'd', name: 'g', input: {}, caller: { type: 'direct' } },
      ],
      stop_reason: 'tool_use',
      stop_sequence: null,
      usage: {
        input_tokens: 4,
        output_tokens: 4,
        cache_read_input_tokens: 3,
        cache_creation_input_tokens: 0,
      },
    });
  });

  test('that is streamed has the same blocks, one after the other', async () => {
    const [start, ...others] = await streamed(MIXED);
    expect(start).toEqual({
      type: 'message_start',
      message: {
        id: expect.stringMatching(/^msg_/),
        ...{ type: 'message', role: 'assistant', model: 'test-model', content: [] },
        ...{ stop_reason: null, stop_sequence: null },
        usage: {
          input_tokens: 7,
          output_tokens: 0,
          cache_read_input_tokens: 0,
          cache_creation_input_tokens: 0,
        },
      },
    });
    const begin = (index: number, content_block: object) => ({
      type: 'content_block_start',
      index,
      content_block,
    });
    const delta = (index: number, fields: object) => ({ type: 'content_block_delta', index, delta: fields });
    const stop = (index: number) => ({ type: 'content_block_stop', index });
    const toolUse = (id: string, name: string) => ({
      ...{ type: 'tool_use', id, name, input: {}, caller: { type: 'direct' } },
    });
    expect(others).toEqual([
      begin(0, { type: 'thinking', thinking: '', signature: '' }),
      delta(0, { type: 'thinking_delta', thinking: 'h' }),
      delta(0, { type: 'thinking_delta', thinking: 'm' }),
      delta(0, { type: 'signature_delta', signature: 'lmserv' }),
      stop(0),
      begin(1, { type: 'text', text: '', citations: null }),
      delta(1, { type: 'text_delta', text: 'Let me ' }),
      delta(1, { type: 'text_delta', text: 'look.' }),
      stop(1),
      begin(2, toolUse('c', 'f')),
      delta(2, { type: 'input_json_delta', partial_json: '{"a"' }),
      delta(2, { type: 'input_json_delta', partial_json: ':1}' }),
      stop(2),
      begin(3, toolUse('d', 'g')),
      delta(3, { type: 'input_json_delta', partial_json: '{}' }),
      stop(3),
      {
        type: 'message_delta',
        delta: { stop_reason: 'tool_use', stop_sequence: null },
        usage: {
          input_tokens: 4,
          output_tokens: 4,
          cache_read_input_tokens: 3,
          cache_creation_input_tokens: 0,
        },
      },
      { type: 'message_stop' },
    ]);
  });

  test.each<[FinishReason, string | undefined, string, string | null]>([
    ['stop', undefined, 'end_turn', null],
    ['stop', 'END', 'stop_sequence', 'END'],
    ['length', undefined, 'max_tokens', null],
    ['tool_calls', undefined, 'tool_use', null],
    ['content_filter', undefined, 'refusal', null],
  ])('that ends with %s (%s) says %s', async (reason, stop, stop_reason, stop_sequence) => {
    const script = [finish(reason, stop), usage];
    expect(await whole(script)).toMatchObject({ content: [], stop_reason, stop_sequence });
    const said = await streamed(script);
    expect(said.map(({ type }) => type)).toEqual(['message_start', 'message_delta', 'message_stop']);
    expect(said[1].delta).toEqual({ stop_reason, stop_sequence });
  });

  test('keeps thinking that the client does not want to see in the signature, which brings it back', async () => {
    const omitted = { thinking: { type: 'adaptive', display: 'omitted' } };
    const [block] = (await whole(MIXED, omitted)).content;
    expect(block).toMatchObject({ type: 'thinking', thinking: '' });
    const deltas = (await streamed(MIXED, omitted)).filter(({ index }) => index === 0).slice(1, -1);
    expect(deltas.map(({ delta }) => delta)).toEqual([
      { type: 'signature_delta', signature: block.signature },
    ]);
    const [, turn] = await history(user, { role: 'assistant', content: [block, text('a')] });
    expect(turn).toEqual({ role: 'assistant', content: 'a', reasoning_content: 'hm' });
  });

  test('whose arguments were cut has them as they are', async () => {
    const cut = [calling({ index: 0, id: 'c', name: 'f', arguments: '{"a":' }), finish('length'), usage];
    expect((await whole(cut)).content).toMatchObject([{ type: 'tool_use', input: '{"a":' }]);
  });

  test('has its request id, in Anthropic’s header', async () => {
    const { headers, body } = await post(PATH, asked);
    expect(headers['request-id']).toBe(headers['x-request-id']);
    expect(body.id).toBe(`msg_${headers['request-id']}`);
  });

  test('that breaks off ends with an error and no message_stop', async () => {
    const generate = failing(new LMServError('generation_failed'), ...events('Hel').slice(0, 2));
    const { text: said, headers } = await post(PATH, { ...asked, stream: true }, { generate }).expect(200);
    const last = said.split('\n\n').at(-2);
    expect(said).toContain('text_delta');
    expect(said).not.toContain('message_stop');
    expect(last).toBe(
      `event: error\ndata: ${JSON.stringify({
        type: 'error',
        error: { type: 'api_error', message: 'The generation failed' },
        request_id: headers['request-id'],
      })}`,
    );
  });
});

test('a ping is an event', () => {
  const call = messages.parse({ ...asked, stream: true });
  const info = { requestId: 'r', created: 0, trace: newTrace() };
  expect('stream' in call && call.stream(info).ping).toBe('event: ping\ndata: {"type":"ping"}\n\n');
});

test('count_tokens counts the prompt and generates nothing', async () => {
  const generate = saying('x');
  const counted: TokenQuestion[] = [];
  const askTokens = async (question: TokenQuestion) => counted.push(question) + 41;
  const request = { model: 'm', system: 's', messages: [user], tools: [tool] };
  const { body } = await post(`${PATH}/count_tokens`, request, { generate, askTokens }).expect(200);
  expect(body).toEqual({ input_tokens: 42 });
  const messages = [{ role: 'system', content: 's' }, user];
  const prompt = { about: 'prompt', model: 'm', request: { body: { messages, tools: [openAiTool()] } } };
  expect(counted[0]).toMatchObject(prompt);
  expect(generate.requests).toEqual([]);
});

describe('an error has Anthropic’s form', () => {
  const form = (type: string, message: unknown = expect.any(String)) => ({
    type: 'error',
    error: { type, message },
    request_id: expect.stringMatching(/^[\w-]+$/),
  });

  test.each<[ErrorCode, number, string]>([
    ['invalid_value', 400, 'invalid_request_error'],
    ['forbidden', 403, 'permission_error'],
    ['model_not_found', 404, 'not_found_error'],
    ['rate_limit_exceeded', 429, 'rate_limit_error'],
    ['budget_exceeded', 429, 'rate_limit_error'],
    ['prompt_quarantined', 422, 'invalid_request_error'],
    ['internal_error', 500, 'api_error'],
    ['generation_failed', 500, 'api_error'],
    ['provider_api_error', 502, 'api_error'],
    ['queue_full', 503, 'overloaded_error'],
    ['starting', 503, 'overloaded_error'],
    ['provider_timeout', 504, 'timeout_error'],
  ])('%s: %i %s', async (code, status, type) => {
    for (const stream of [false, true]) {
      const generate = failing(new LMServError(code));
      const reply = await post(PATH, { ...asked, stream }, { generate }).expect(status);
      expect(reply.body).toEqual(form(type));
      expect(reply.body.request_id).toBe(reply.headers['request-id']);
    }
  });

  test('a thread is refused so that the SDK continues without one', async () => {
    const { body } = await post(PATH, { ...asked, thread: { type: 'create' } }).expect(400);
    expect(body.error.details).toEqual({ error_code: 'thread_unsupported_request' });
  });

  test('also before the route', async () => {
    const app = testApp();
    const send = (path = PATH) => supertest(app).post(path).set('Content-Type', 'application/json');
    const keyed = (path?: string) => send(path).set('X-API-Key', KEY);
    const unauthenticated = await send().send(asked).expect(401);
    expect(unauthenticated.body).toEqual(form('authentication_error', 'Bad API key'));
    expect((await keyed().set('Host', 'evil.example').send(asked).expect(421)).body).toEqual(
      form('invalid_request_error'),
    );
    expect((await keyed().send('{').expect(400)).body).toEqual(
      form('invalid_request_error', 'The body is not valid JSON'),
    );
    expect(
      (
        await keyed()
          .send({ ...asked, system: 'a'.repeat(20_000) })
          .expect(413)
      ).body,
    ).toEqual(form('request_too_large'));
    expect((await keyed().set('Content-Type', 'text/plain').send('a').expect(415)).body).toEqual(
      form('invalid_request_error'),
    );
    expect((await keyed(`${PATH}/batches`).send({}).expect(404)).body).toEqual(form('not_found_error'));
    expect((await keyed('/V1/Messages/batches').send({}).expect(404)).body).toEqual(form('not_found_error'));
    expect((await get(PATH, app).expect(405)).body).toEqual(form('invalid_request_error'));
    expect((await send(`${PATH}/count_tokens`).send(asked).expect(401)).body).toEqual(
      form('authentication_error'),
    );
    // Neighbours keep OpenAI's form.
    expect((await send('/v1/messagesX').send(asked).expect(401)).body.error.code).toBe('invalid_api_key');
  });

  test('also for Anthropic’s clients on other paths', async () => {
    const asking = get('/v1/models/none').set('anthropic-version', '2023-06-01');
    expect((await asking.expect(404)).body).toEqual(form('not_found_error'));
  });

  test('also from the rate limit', async () => {
    const app = testApp({ rateLimitQps: 0.001 });
    await post(PATH, asked, app).expect(200);
    const { body, headers } = await post(PATH, asked, app).expect(429);
    expect(body).toEqual(form('rate_limit_error'));
    expect(headers['retry-after']).toMatch(/^\d+$/);
  });

  test('a prompt that is too long is called so in the words that agents look for', async () => {
    const message =
      'beyond: the request (20009 tokens) exceeds the available context size (4096 tokens), try increasing it';
    const generate = failing(new LMServError('context_length_exceeded', message));
    const { body } = await post(PATH, asked, { generate }).expect(400);
    expect(body).toEqual(form('invalid_request_error', 'prompt is too long: 20009 tokens > 4096 maximum'));
    const vague = failing(new LMServError('context_length_exceeded', 'too many'));
    const other = await post(PATH, asked, { generate: vague }).expect(400);
    expect(other.body.error.message).toBe('prompt is too long: too many');
  });
});

test('models are listed in Anthropic’s form for its clients', async () => {
  const model = {
    ...{ type: 'model', id: 'test-model', display_name: 'test-model' },
    ...{ created_at: '2023-11-14T22:13:20.000Z', max_input_tokens: null, max_tokens: null },
  };
  const asking = (path: string) => get(path).set('anthropic-version', '2023-06-01').expect(200);
  const list = { data: [model], has_more: false, first_id: 'test-model', last_id: 'test-model' };
  expect((await asking('/v1/models')).body).toEqual(list);
  expect((await asking('/v1/models/test-model')).body).toEqual(model);
});

test.each([
  '/messages',
  '/v1/v1/messages',
  '//v1/messages',
  '/v1/messages?beta=true',
  '/messages/count_tokens',
])('%s is served however the base URL is written', async (path) => {
  await post(path, asked).expect(200);
});

test.each([{ 'X-API-Key': KEY }, { Authorization: `Bearer ${KEY}` }])(
  'the key may be in %j',
  async (headers) => {
    const versions = { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'a-2025-01-01,b-2025-01-01' };
    await supertest(testApp())
      .post(PATH)
      .set({ ...headers, ...versions })
      .send(asked)
      .expect(200);
  },
);
