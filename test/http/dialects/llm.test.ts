import type { FinishReason } from '../../../src/contract.js';
import { LMServError } from '../../../src/errors.js';
import { failing, playing, post, saying } from '../../support/app.js';

const email = { task: 'classify_email', input: { subject: 'Offer', body: 'Buy now' } };
const schema = {
  type: 'object',
  properties: { category: { enum: ['spam', 'ham'] } },
  required: ['category'],
  additionalProperties: false,
};

const saysAndEnds = (text: string, reason: FinishReason) =>
  playing([
    { type: 'text', index: 0, text },
    { type: 'finish', index: 0, reason },
  ]);

describe('the prompt form of POST /llm', () => {
  test('sends the prompt unchanged, with the defaults', async () => {
    const generate = saying('a', 'b');
    const response = await post('/llm', { prompt: 'Once upon' }, { generate }).expect(200);
    expect(response.body.completion).toBe('ab');
    expect(generate.requests[0]).toEqual({
      kind: 'raw',
      n: 1,
      unknownModel: 'default',
      body: { prompt: 'Once upon', max_tokens: 256 },
      defaults: { sampling: { temperature: 0.7 } },
    });
  });

  test('a failure is 500 with the worker’s stderr', async () => {
    const failure = new LMServError('generation_failed', undefined, { stderr: 'out of memory' });
    const response = await post('/llm', { prompt: 'x' }, { generate: failing(failure) }).expect(500);
    expect(response.body.error).toMatchObject({ code: 'generation_failed', stderr: 'out of memory' });
  });
});

describe('the task form of POST /llm', () => {
  test('chat_completion: the prompt is the user’s turn, the result the text', async () => {
    const generate = saying('Hi', ' there');
    const body = {
      task: 'chat_completion',
      provider: 'local',
      model: 'gpt-4o-mini',
      input: { prompt: 'Hello' },
      temperature: 0.0,
      max_tokens: 800,
      schema: null,
      priority: null,
    };
    const response = await post('/llm', body, { generate }).expect(200);
    expect(response.body).toEqual({
      task: 'chat_completion',
      provider: 'local',
      result: 'Hi there',
      finish_reason: 'stop',
    });
    expect(generate.requests[0]).toEqual({
      kind: 'chat',
      n: 1,
      model: 'gpt-4o-mini',
      unknownModel: 'default',
      body: { messages: [{ role: 'user', content: 'Hello' }], temperature: 0, max_tokens: 800 },
      defaults: { sampling: { temperature: 0 } },
    });
  });

  test('the defaults are local, temperature 0 and 800 tokens', async () => {
    const generate = saying('x');
    const response = await post('/llm', { task: 'chat_completion', input: { prompt: 'a' } }, { generate });
    expect(response.body.provider).toBe('local');
    expect(generate.requests[0]).toMatchObject({
      body: { max_tokens: 800 },
      defaults: { sampling: { temperature: 0 } },
    });
    expect(generate.requests[0]!.provider).toBeUndefined();
  });

  test('classify_email with a schema constrains the reply and parses it', async () => {
    const generate = saying('{"category":', '"spam"}');
    const response = await post('/llm', { ...email, schema }, { generate }).expect(200);
    expect(response.body).toMatchObject({ task: 'classify_email', result: { category: 'spam' } });
    const { messages, response_format } = generate.requests[0]!.body as unknown as {
      messages: { role: string; content: string }[];
      response_format: object;
    };
    expect(response_format).toEqual({ type: 'json_schema', json_schema: { name: 'classify_email', schema } });
    expect(messages.map((message) => message.role)).toEqual(['system', 'user']);
    expect(messages[0]!.content).toContain('JSON alone');
    expect(messages[0]!.content).toContain(JSON.stringify(schema));
    expect(JSON.parse(messages[1]!.content)).toEqual(email);
  });

  test('parse_price_list without a schema accepts any object', async () => {
    const generate = saying('```json\n{"items":[]}\n```\n');
    const body = { task: 'parse_price_list', input: { text: 'Nuts 3.50' } };
    const response = await post('/llm', body, { generate }).expect(200);
    expect(response.body.result).toEqual({ items: [] });
    expect(generate.requests[0]!.body.response_format).toEqual({ type: 'json_object' });
  });

  test('chat_completion with a schema returns the parsed value', async () => {
    const body = { task: 'chat_completion', input: { prompt: 'a' }, schema: { type: 'array' } };
    const response = await post('/llm', body, { generate: saying('[1]') }).expect(200);
    expect(response.body.result).toEqual([1]);
  });

  test('provider cloud uses the remote with that name and is 500 configuration_error without one', async () => {
    const generate = saying('x');
    const body = { task: 'chat_completion', input: { prompt: 'a' }, provider: 'cloud' };
    expect((await post('/llm', body, { generate }).expect(200)).body.provider).toBe('cloud');
    expect(generate.requests[0]!.provider).toBe('cloud');
    const response = await post('/llm', body, {
      generate: failing(new LMServError('configuration_error')),
    }).expect(500);
    expect(response.body.error.code).toBe('configuration_error');
  });

  test.each([
    ['high', 1],
    ['Interactive', 1],
    ['low', -1],
    ['batch', -1],
    ['normal', undefined],
    ['constructor', undefined],
    [null, undefined],
  ])('priority %p is %p in the queue', async (priority, expected) => {
    const generate = saying('x');
    await post('/llm', { task: 'chat_completion', input: { prompt: 'a' }, priority }, { generate }).expect(
      200,
    );
    expect(generate.requests[0]!.priority).toBe(expected);
  });

  test.each([
    ['does not fit the schema', schema, '{"category":"other"}'],
    ['has fields of its own', schema, '{"category":"spam","why":1}'],
    ['is no JSON', schema, 'Spam, I think'],
    ['is no JSON, without a schema', undefined, 'Spam, I think'],
    ['is no object, without a schema', undefined, '["spam"]'],
    ['is empty', schema, ''],
  ])('a reply that %s is 502 invalid_response', async (_name, given, text) => {
    const response = await post('/llm', { ...email, schema: given }, { generate: saying(text) }).expect(502);
    expect(response.body.error.code).toBe('invalid_response');
  });

  test('the error for a reply that was cut says so', async () => {
    const response = await post(
      '/llm',
      { ...email, schema },
      { generate: saysAndEnds('{"categ', 'length') },
    ).expect(502);
    expect(response.body.error.message).toContain('max_tokens');
  });

  test.each([
    ['task', { ...email, task: 'write_poem' }],
    ['task', { ...email, task: null }],
    ['provider', { ...email, provider: 'moon' }],
    ['input', { task: 'classify_email' }],
    ['input', { ...email, input: 'text' }],
    ['input.prompt', { task: 'chat_completion', input: {} }],
    ['schema', { ...email, schema: 'object' }],
    ['schema', { ...email, schema: { type: 'wizard' } }],
    ['schema', { ...email, schema: { $ref: 'https://example.org/schema.json' } }],
    ['priority', { ...email, priority: 7 }],
    ['temperature', { ...email, temperature: -1 }],
    ['max_tokens', { ...email, max_tokens: 0 }],
  ])('an invalid %s is 400 that names it', async (param, body) => {
    const generate = saying('x');
    const response = await post('/llm', body, { generate }).expect(400);
    expect(response.body.error).toMatchObject({ code: 'invalid_value', param });
    expect(generate.requests).toHaveLength(0);
  });
});
