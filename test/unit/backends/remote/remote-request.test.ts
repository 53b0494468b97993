import type { GenerateRequest, JsonObject } from '../../../../src/contract.js';
import { routeUrl } from '../../../../src/backends/remote/connection.js';
import { toRemoteRequest } from '../../../../src/backends/remote/remote-request.js';

const chat = (body: JsonObject): GenerateRequest => ({
  kind: 'chat',
  n: 1,
  body: { messages: [{ role: 'user', content: 'hi' }], ...body },
});

const asked = (
  request: GenerateRequest,
  kind: 'llama' | 'openai',
  maxTokensField: 'max_tokens' | 'max_completion_tokens' = 'max_tokens',
) => toRemoteRequest(request, { kind, model: 'm', maxTokensField }).body;

test('openai: only OpenAI’s fields are sent', () => {
  const body = asked(
    chat({ top_p: 0.5, top_k: 4, repeat_penalty: 1.1, ignore_eos: true, seed: 3, chat_template_kwargs: {} }),
    'openai',
  );
  expect(body).toEqual({
    messages: [{ role: 'user', content: 'hi' }],
    top_p: 0.5,
    seed: 3,
    stream: true,
    stream_options: { include_usage: true },
    model: 'm',
  });
});

test.each([
  ['grammar', 'root ::= "a"'],
  ['json_schema', {}],
])('openai: %s is refused, not dropped', (field, value) => {
  expect(() => asked(chat({ [field]: value }), 'openai')).toThrow(
    expect.objectContaining({
      code: 'invalid_value',
      param: field,
      message: `${field}: this model's server takes OpenAI's fields only`,
    }),
  );
  expect(asked(chat({ [field]: value }), 'llama')).toHaveProperty(field, value);
});

test('openai: what OpenAI reads differently is translated', () => {
  const schema = { type: 'object' };
  expect(asked(chat({ seed: -1 }), 'openai')).not.toHaveProperty('seed');
  expect(asked(chat({ response_format: { type: 'json_object', schema } }), 'openai').response_format).toEqual(
    {
      type: 'json_schema',
      json_schema: { name: 'reply', schema },
    },
  );
  expect(
    asked(chat({ response_format: { type: 'json_schema', json_schema: { schema } } }), 'openai')
      .response_format,
  ).toEqual({ type: 'json_schema', json_schema: { name: 'reply', schema } });
  expect(asked(chat({ response_format: { type: 'json_object' } }), 'openai').response_format).toEqual({
    type: 'json_object',
  });
  const messages = [{ role: 'assistant', content: 'a', reasoning_content: 'because' }];
  expect(asked(chat({ messages }), 'openai').messages).toEqual([{ role: 'assistant', content: 'a' }]);
});

test.each(['llama', 'openai'] as const)('%s: the token limit goes by the name that is wanted', (kind) => {
  expect(asked(chat({ max_tokens: 9 }), kind)).toMatchObject({ max_tokens: 9 });
  const other = asked(chat({ max_tokens: 9 }), kind, 'max_completion_tokens');
  expect(other).toMatchObject({ max_completion_tokens: 9 });
  expect(other).not.toHaveProperty('max_tokens');
});

test('llama: llama.cpp’s fields go along, a named tool and a continuation as it reads them', () => {
  const tools = ['one', 'two'].map((name) => ({ type: 'function', function: { name } }));
  const tool_choice = { type: 'function', function: { name: 'two' } };
  expect(asked(chat({ top_k: 4, tools, tool_choice }), 'llama')).toMatchObject({
    top_k: 4,
    tool_choice: 'required',
    tools: [tools[1]],
    return_progress: true,
    stream: true,
    stream_options: { include_usage: true },
    model: 'm',
  });
  const messages = [{ role: 'assistant', content: 'so far' }];
  expect(asked(chat({ messages }), 'llama')).toMatchObject({ continue_final_message: true });
});

test('a raw prompt has its own route', () => {
  const { route, body } = toRemoteRequest(
    { kind: 'raw', n: 1, body: { prompt: 'p' } },
    { kind: 'openai', model: 'm', maxTokensField: 'max_tokens' },
  );
  expect(route).toBe('/completions');
  expect(body.prompt).toBe('p');
});

test.each([
  ['http://box:8000', 'http://box:8000/v1/completions'],
  ['http://box:8000/', 'http://box:8000/v1/completions'],
  ['http://box:8000/v1', 'http://box:8000/v1/completions'],
  ['https://openrouter.ai/api/v1/', 'https://openrouter.ai/api/v1/completions'],
])('below %s the route is %s', (base, url) => {
  expect(routeUrl(base, '/completions').href).toBe(url);
});

test('llama: a form next to tools that may be called is refused, because the server would not apply it', () => {
  const response_format = { type: 'json_object' };
  const tools = [{ type: 'function', function: { name: 'f' } }];
  expect(() => asked(chat({ tools, response_format }), 'llama')).toThrow('response_format: this model');
  expect(asked(chat({ tools, response_format, tool_choice: 'none' }), 'llama')).toMatchObject({
    response_format,
  });
  expect(asked(chat({ tools, response_format }), 'openai')).toMatchObject({ tools, response_format });
});

test('llama: what the server would refuse without naming a field is refused by name', () => {
  const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } };
  const messages = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: null, tool_calls: [call] },
  ];
  expect(() => asked(chat({ messages }), 'llama')).toThrow('messages: the last turn calls a tool');
  const tools = [{ type: 'function', function: { name: 'f' } }];
  expect(() => asked(chat({ tools, logprobs: true }), 'llama')).toThrow('logprobs: this model');
  expect(asked(chat({ messages, tools, logprobs: true }), 'openai')).toMatchObject({ messages, tools });
});
