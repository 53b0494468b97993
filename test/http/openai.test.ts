import type { ReplyEvent } from '../../src/contract.js';
import { LMServError } from '../../src/errors.js';
import { events, failing, playing, post, saying } from '../support/app.js';
import { sseData } from '../support/exchange.js';

const ask = (generate: ReturnType<typeof playing>, body: object | string, path = '/v1/chat/completions') =>
  post(path, body, { generate, maxBodyBytes: 1_000_000 });

const messages = [{ role: 'user', content: 'hi' }];

/** The streamed reply of a script: its chunks. */
const streamed = async (script: ReplyEvent[], more = {}) =>
  sseData((await ask(playing(script), { messages, stream: true, ...more }).expect(200)).text);

const broken = () => failing(new LMServError('generation_failed'), { type: 'text', index: 0, text: 'Hel' });

describe('chat completions, streamed', () => {
  test('send role, deltas, finish reason and [DONE] with one id, and no usage unless requested', async () => {
    const response = await ask(saying('Hello', ' world'), { messages, stream: true }).expect(200);
    // Python's requests takes a text type without a charset for Latin-1.
    expect(response.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect(response.headers['cache-control']).toBe('no-cache');
    expect(response.headers['x-accel-buffering']).toBe('no');
    const chunks = sseData(response.text);
    expect(chunks.pop()).toBe('[DONE]');
    expect(chunks.map((chunk) => chunk.choices[0].delta)).toEqual([
      { role: 'assistant', content: '' },
      { content: 'Hello' },
      { content: ' world' },
      {},
    ]);
    expect(chunks.map((chunk) => chunk.choices[0].finish_reason)).toEqual([null, null, null, 'stop']);
    expect(new Set(chunks.map((chunk) => `${chunk.id} ${chunk.created} ${chunk.model}`)).size).toBe(1);
    expect(chunks[0]).toMatchObject({ object: 'chat.completion.chunk', model: 'test-model' });
    expect(chunks.some((chunk) => 'usage' in chunk)).toBe(false);
    expect(response.text).not.toContain('event:');
  });

  test('include_usage adds one chunk without choices, and the others have null', async () => {
    const chunks = await streamed(events('a'), { stream_options: { include_usage: true } });
    const last = chunks.at(-2);
    expect(last.choices).toEqual([]);
    expect(last.usage).toEqual({
      prompt_tokens: 7,
      completion_tokens: 1,
      total_tokens: 8,
      prompt_tokens_details: { cached_tokens: 3 },
    });
    expect(chunks.slice(0, -2).every((chunk) => chunk.usage === null)).toBe(true);
  });

  test('the first delta of a tool call names it, later ones carry fragments', async () => {
    const script: ReplyEvent[] = [
      { type: 'tool_call', index: 0, call: { index: 0, id: 'call_1', name: 'get_weather', arguments: '' } },
      { type: 'tool_call', index: 0, call: { index: 0, arguments: '{"city":' } },
      { type: 'tool_call', index: 0, call: { index: 0, arguments: '"Lima"}' } },
      { type: 'finish', index: 0, reason: 'tool_calls' },
    ];
    const chunks = await streamed(script);
    const deltas = chunks.slice(1, 4).map((chunk) => chunk.choices[0].delta.tool_calls[0]);
    expect(deltas).toEqual([
      { index: 0, id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '' } },
      { index: 0, function: { arguments: '{"city":' } },
      { index: 0, function: { arguments: '"Lima"}' } },
    ]);
    expect(chunks[4].choices[0].finish_reason).toBe('tool_calls');
  });

  test('reasoning has its own delta', async () => {
    const chunks = await streamed([{ type: 'reasoning', index: 0, text: 'hm' }, ...events('ok')]);
    expect(chunks[1].choices[0].delta).toEqual({ reasoning_content: 'hm' });
  });

  test('an error before the first token has its own status and Retry-After', async () => {
    const full = failing(new LMServError('queue_full'));
    const response = await ask(full, { messages, stream: true }).expect(503);
    expect(response.headers['retry-after']).toBe('1');
    expect(response.body.error).toEqual({
      message: 'All slots are in use and the queue is full',
      type: 'service_unavailable_error',
      param: null,
      code: 'queue_full',
    });
  });

  test('an error after the first token is sent in the stream, which then has no [DONE]', async () => {
    const chunks = sseData((await ask(broken(), { messages, stream: true }).expect(200)).text);
    expect(chunks.at(-1)).toEqual({
      error: {
        message: 'The generation failed',
        type: 'server_error',
        param: null,
        code: 'generation_failed',
      },
    });
    expect(chunks).not.toContain('[DONE]');
  });

  test('an unexpected error reveals no details', async () => {
    const unexpected = failing(new Error('secret /etc/path'));
    const response = await ask(unexpected, { messages, stream: true }).expect(500);
    expect(response.text).not.toContain('secret');
    expect(response.body.error.code).toBe('internal_error');
  });
});

describe('chat completions, not streamed', () => {
  test("return OpenAI's object", async () => {
    const response = await ask(saying('Hello', ' world'), { messages }).expect(200);
    expect(response.body).toMatchObject({
      object: 'chat.completion',
      model: 'test-model',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello world', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 },
    });
    expect(response.body.id).toBe(`chatcmpl-${response.headers['x-request-id']}`);
  });

  test('return n choices, each with its own text', async () => {
    const script: ReplyEvent[] = [
      { type: 'text', index: 1, text: 'b' },
      { type: 'text', index: 0, text: 'a' },
      { type: 'finish', index: 1, reason: 'length' },
      { type: 'finish', index: 0, reason: 'stop' },
    ];
    const { body } = await ask(playing(script), { messages, n: 2 });
    expect(body.choices.map((c: any) => [c.message.content, c.finish_reason])).toEqual([
      ['a', 'stop'],
      ['b', 'length'],
    ]);
  });

  test('a message that only calls tools has null content', async () => {
    const call = { index: 0, id: 'c', name: 'f', arguments: '{}' };
    const { body } = await ask(playing([{ type: 'tool_call', index: 0, call }]), { messages });
    expect(body.choices[0].message).toEqual({
      role: 'assistant',
      content: null,
      refusal: null,
      tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
    });
  });

  test('a generation that breaks midway is an error, never incomplete text', async () => {
    const response = await ask(broken(), { messages }).expect(500);
    expect(response.text).not.toContain('Hel"');
  });
});

describe('the body for the backends', () => {
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];

  test('has allow-listed fields only, and none that reaches the state of others', async () => {
    const generate = saying('x');
    await ask(generate, {
      messages,
      model: 'm',
      temperature: 0.5,
      top_k: 5,
      max_completion_tokens: 9,
      seed: 3,
      id_slot: 0,
      cache_prompt: false,
      lora: [{ id: 0, scale: 1 }],
      response_fields: ['prompt'],
      user: 'u',
      metadata: null,
    }).expect(200);
    expect(generate.requests).toEqual([
      {
        kind: 'chat',
        n: 1,
        model: 'm',
        body: { messages, temperature: 0.5, top_k: 5, seed: 3, max_tokens: 9 },
      },
    ]);
  });

  test('has 64-bit seeds folded and no empty stop', async () => {
    const generate = saying('x');
    await ask(generate, { messages, seed: 9_007_199_254_740_991, stop: '' }).expect(200);
    const { seed, ...rest } = generate.requests[0]!.body;
    expect(seed).toBeGreaterThanOrEqual(0);
    expect(seed).toBeLessThanOrEqual(2_147_483_647);
    expect(rest).toEqual({ messages });
  });

  test('has developer turns as system turns and keeps the calls of assistant turns', async () => {
    const generate = saying('x');
    const tool_calls = [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }];
    await ask(generate, {
      tools,
      messages: [
        { role: 'developer', content: 'be brief' },
        { role: 'user', content: [{ type: 'text', text: 'hi' }] },
        { role: 'assistant', content: null, tool_calls },
        { role: 'tool', tool_call_id: 'c', content: '42' },
      ],
    }).expect(200);
    expect(generate.requests[0]!.body.messages).toEqual([
      { role: 'system', content: 'be brief' },
      { role: 'user', content: [{ type: 'text', text: 'hi' }] },
      { role: 'assistant', content: null, tool_calls },
      { role: 'tool', tool_call_id: 'c', content: '42' },
    ]);
  });

  /** A worker would take minutes and gigabytes for it. */
  const huge = {
    type: 'object',
    properties: Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`p${i}`, { type: 'string' }])),
  };

  const hugeFormat = { type: 'json_schema', json_schema: { schema: huge } };
  const hugeTools = [{ type: 'function', function: { name: 'f', parameters: huge } }];
  const image = { type: 'image_url', image_url: { url: 'http://10.0.0.1/x.png' } };

  test.each([
    ['messages', { messages: 'hi' }],
    ['messages', { messages: [] }],
    ['messages.0.content', { messages: [{ role: 'user', content: 7 }] }],
    ['messages.0.role', { messages: [{ role: 'robot', content: 'x' }] }],
    ['messages.0.content.0.image_url.url', { messages: [{ role: 'user', content: [image] }] }],
    ['messages.0.content', { messages: [{ role: 'user', content: 'a\0b' }] }],
    ['messages.0.content', { messages: [{ role: 'user', content: 'a\ud800b' }] }],
    ['temperature', { messages, temperature: 3 }],
    ['temperature', { messages, temperature: 'hot' }],
    ['n', { messages, n: 0 }],
    ['n', { messages, n: 1.5 }],
    ['max_tokens', { messages, max_tokens: 0 }],
    ['top_logprobs', { messages, top_logprobs: 2 }],
    ['tools.0.function.name', { messages, tools: [{ type: 'function', function: { name: 'a b' } }] }],
    ['tool_choice', { messages, tool_choice: 'required' }],
    ['tool_choice', { messages, tools, tool_choice: { type: 'function', function: { name: 'g' } } }],
    ['response_format.json_schema', { messages, response_format: { type: 'json_schema' } }],
    ['response_format.json_schema.schema', { messages, response_format: hugeFormat }],
    ['tools.0.function.parameters', { messages, tools: hugeTools }],
    ['repeat_penalty', { messages, repeat_penalty: 1e-300 }],
    ['functions', { messages, functions: [{ name: 'f' }] }],
    ['grammar', { messages, tools, grammar: 'root ::= "a"' }],
  ])('400 names %s', async (param, body) => {
    const generate = saying('x');
    const response = await ask(generate, body).expect(400);
    expect(response.body.error).toMatchObject({
      param,
      type: 'invalid_request_error',
      code: 'invalid_value',
    });
    expect(generate.requests).toEqual([]);
  });

  test('a number too large to be finite is 400', async () => {
    const body = '{"messages":[{"role":"user","content":"x"}],"top_p":1e999}';
    const response = await ask(saying('x'), body).expect(400);
    expect(response.body.error.param).toBe('top_p');
  });
});

describe('completions', () => {
  test('stream a raw prompt', async () => {
    const generate = saying('a', 'b');
    const response = await ask(generate, { prompt: 'once', stream: true }, '/v1/completions').expect(200);
    const chunks = sseData(response.text);
    expect(chunks.pop()).toBe('[DONE]');
    expect(
      chunks.map((chunk) => [chunk.object, chunk.choices[0].text, chunk.choices[0].finish_reason]),
    ).toEqual([
      ['text_completion', 'a', null],
      ['text_completion', 'b', null],
      ['text_completion', '', 'stop'],
    ]);
    expect(generate.requests[0]).toMatchObject({ kind: 'raw', body: { prompt: 'once' } });
  });

  test('have log probabilities in the older form, with offsets', async () => {
    const top = [{ token: 'a', logprob: -0.1 }];
    const script: ReplyEvent[] = ['ab', 'c'].map((token) => ({
      type: 'text',
      index: 0,
      text: token,
      logprobs: [{ token, logprob: -0.5, top_logprobs: top }],
    }));
    const { body } = await ask(playing(script), { prompt: ['x'], logprobs: 1 }, '/v1/completions');
    expect(body.choices[0].logprobs).toEqual({
      tokens: ['ab', 'c'],
      token_logprobs: [-0.5, -0.5],
      top_logprobs: [{ a: -0.1 }, { a: -0.1 }],
      text_offset: [0, 2],
    });
  });

  test('passes a suffix on', async () => {
    const generate = saying('x');
    await ask(generate, { prompt: 'a', suffix: 'z' }, '/v1/completions').expect(200);
    expect(generate.requests[0]!.body).toEqual({ prompt: 'a', suffix: 'z' });
  });

  test.each([
    ['prompt', {}],
    ['prompt', { prompt: '' }],
    ['prompt.1', { prompt: ['a', ''] }],
    ['echo', { prompt: 'a', echo: true }],
    ['suffix', { prompt: 'a', suffix: 5 }],
    ['prompt', { prompt: [1, 2], suffix: 'z' }],
    ['best_of', { prompt: 'a', best_of: 3 }],
  ])('400 names %s', async (param, body) => {
    const response = await ask(saying('x'), body, '/v1/completions').expect(400);
    expect(response.body.error.param).toBe(param);
  });
});
