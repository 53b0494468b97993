import { post, saying } from '../../support/app.js';

/** A field that constrains the form of a reply is applied or refused, never ignored. */

const CHAT = '/v1/chat/completions';
const RAW = '/v1/completions';
const messages = [{ role: 'user', content: 'hi' }];
const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];
const named = { type: 'function', function: { name: 'f' } };
const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
const format = { type: 'json_schema', json_schema: { name: 'p', schema } };
const grammar = 'root ::= "a"';

const OBJECT = { response_format: { type: 'json_object' } };

/** How each form reaches a model through its chat template, and with a raw prompt. */
const asSchema = {
  chat: { response_format: { type: 'json_schema', json_schema: { schema } } },
  raw: { json_schema: schema },
};
const asGrammar = { chat: { grammar }, raw: { grammar } };
const asChoice = { grammar: 'root ::= "yes" | "no \\x22\\x5c\\x0a"' };

test.each<[object, { chat: object; raw: object }]>([
  [{ response_format: format }, { chat: { response_format: format }, raw: { json_schema: schema } }],
  [
    { response_format: { type: 'json_object', schema } },
    { chat: { response_format: { type: 'json_object', schema } }, raw: { json_schema: schema } },
  ],
  [OBJECT, { chat: OBJECT, raw: { json_schema: { type: 'object' } } }],
  [{ structured_outputs: { json_object: true } }, { chat: OBJECT, raw: { json_schema: { type: 'object' } } }],
  [{ json_schema: schema }, asSchema],
  [{ guided_json: schema }, asSchema],
  [{ guided_json: JSON.stringify(schema) }, asSchema],
  [{ structured_outputs: { json: schema, regex: null } }, asSchema],
  [{ ...OBJECT, json_schema: schema }, asSchema],
  [{ grammar }, asGrammar],
  [{ guided_grammar: grammar }, asGrammar],
  [{ structured_outputs: { grammar } }, asGrammar],
  [{ guided_choice: ['yes', 'no "\\\n'] }, { chat: asChoice, raw: asChoice }],
  [{ structured_outputs: { choice: ['yes', 'no "\\\n'] } }, { chat: asChoice, raw: asChoice }],
])('%j is applied to chats, raw prompts and /execute', async (fields, { chat, raw }) => {
  const generate = saying('{}');
  await post(CHAT, { messages, ...fields }, { generate }).expect(200);
  await post('/complete', { model: 'm', messages, ...fields }, { generate }).expect(200);
  await post(RAW, { prompt: 'a', ...fields }, { generate }).expect(200);
  await post('/execute', { prompt: 'hi', config: { model_params: fields } }, { generate }).expect(200);
  const [a, b, c, d] = generate.requests.map(({ body }) => body);
  expect(a).toEqual({ messages, ...chat });
  expect(b).toEqual({ messages, ...chat });
  expect(c).toEqual({ prompt: 'a', ...raw });
  expect(d).toEqual({ messages, max_tokens: 2000, ...chat });
});

test.each<[string, object]>([
  ['guided_regex', { guided_regex: 'a+' }],
  ['regex', { regex: 'a+' }],
  ['ebnf', { ebnf: 'root ::= "a"' }],
  ['structural_tag', { structural_tag: { structures: [] } }],
  ['format', { format: 'json' }],
  ['format', { format: schema }],
  ['structured_outputs.regex', { structured_outputs: { regex: 'a+' } }],
  ['grammar', { grammar: { type: 'regex', value: 'a+' } }],
  ['grammar', { grammar: 5 }],
  ['json_schema', { json_schema: 'no JSON' }],
  ['json_schema', { json_schema: [] }],
  ['guided_json', { guided_json: '[]' }],
  ['guided_json', { guided_json: { type: 'any' } }],
  ['guided_choice', { guided_choice: 'yes' }],
  ['guided_choice.0', { guided_choice: [1] }],
  ['response_format.type', { response_format: { type: 'grammar', grammar } }],
  ['response_format.value', { response_format: { type: 'json_object', value: schema } }],
  ['response_format.json_schema', { response_format: { type: 'json_object', json_schema: { schema } } }],
  ['response_format.json_schema.schema', { response_format: { type: 'json_schema', json_schema: {} } }],
  ['json_schema', { json_schema: schema, response_format: format }],
  ['guided_json', { json_schema: schema, guided_json: { type: 'array' } }],
  ['grammar', { json_schema: schema, grammar }],
  ['grammar', { ...OBJECT, grammar }],
  ['guided_choice', { guided_choice: ['a'], structured_outputs: { choice: ['b'] } }],
])('what cannot be applied is 400 naming %s: %j', async (param, fields) => {
  for (const [path, body] of [
    [CHAT, { messages }],
    [RAW, { prompt: 'a' }],
  ] as const) {
    const generate = saying('x');
    const { body: reply } = await post(path, { ...body, ...fields }, { generate }).expect(400);
    expect(reply.error).toMatchObject({ code: 'invalid_value', param });
    expect(generate.requests).toEqual([]);
  }
  const config = { model_params: fields };
  const { body: reply } = await post('/execute', { prompt: 'a', config }).expect(400);
  expect(reply.message).toContain(param);
});

describe('next to tools', () => {
  const sent = async (fields: object) => {
    const generate = saying('x');
    await post(CHAT, { messages, tools, ...fields }, { generate }).expect(200);
    return generate.requests[0]!.body;
  };
  const forms = [{ response_format: format }, OBJECT, { json_schema: schema }, { guided_json: schema }];

  test.each(forms)('a form does not keep a required call from being made: %j', async (form) => {
    for (const tool_choice of ['required', named])
      expect(await sent({ ...form, tool_choice })).toEqual({ messages, tools, tool_choice });
  });

  test('a form is left to the backend where the model may choose, and holds where it may not call', async () => {
    for (const tool_choice of ['auto', undefined, null, 'none'])
      expect(await sent({ response_format: format, tool_choice })).toMatchObject({ response_format: format });
  });

  test.each([
    ['grammar', { grammar }],
    ['guided_choice', { guided_choice: ['a'] }],
    ['structured_outputs', { structured_outputs: { grammar } }],
  ])('%s is 400 unless no call may be made', async (param, form) => {
    for (const tool_choice of ['auto', 'required', named]) {
      const { body } = await post(CHAT, { messages, tools, tool_choice, ...form }).expect(400);
      expect(body.error).toMatchObject({ param, message: `${param}: cannot be combined with tools` });
    }
    expect(await sent({ ...form, tool_choice: 'none' })).toHaveProperty('grammar');
  });
});

describe('a schema that nobody can read is 400 and names the tool', () => {
  const property = (a: unknown) => ({ type: 'object', properties: { a } });
  test.each<[string, object]>([
    ['the type "any", which JSON Schema does not know (at #/properties/a)', property({ type: 'any' })],
    [
      'the type "str", which JSON Schema does not know (at #/properties/a)',
      property({ type: ['str', 'null'] }),
    ],
    ['the type 5, which JSON Schema does not know (at #)', { type: 5 }],
    ['no part "#/components/x", to which #/properties/a refers', property({ $ref: '#/components/x' })],
    ['no part "https://x/y", to which #/properties/a refers', property({ $ref: 'https://x/y' })],
    ['$ref without a text (at #/properties/a)', property({ $ref: null })],
    ['a part that is not a schema (at #/properties/a)', property(false)],
    ['a part that is not a schema (at #/properties/a)', property('string')],
    ['a part that is not a schema (at #/properties/a)', property(null)],
    ['anyOf without a list of schemas (at #/properties/a)', property({ anyOf: [] })],
    ['allOf without a list of schemas (at #/properties/a)', property({ allOf: {} })],
    ['enum without a list of values (at #/properties/a)', property({ enum: [] })],
    ['an empty list of types (at #)', { type: [] }],
    ['properties that are not an object (at #)', { type: 'object', properties: ['a'] }],
    ['additionalProperties that are not a schema (at #)', { type: 'object', additionalProperties: null }],
    ['maxLength without a whole number (at #/properties/a)', property({ type: 'string', maxLength: -1 })],
    ['format without a text (at #/properties/a)', property({ type: 'string', format: null })],
    [
      'the type "x", which JSON Schema does not know (at #/$defs/d/items)',
      {
        ...property({ $ref: '#/$defs/d' }),
        $defs: { d: { type: 'array', items: { type: 'x' } } },
      },
    ],
  ])('%s', async (problem, parameters) => {
    const list = [...tools, { type: 'function', function: { name: 'get_weather', parameters } }];
    const { body } = await post(CHAT, { messages, tools: list }).expect(400);
    const param = 'tools.1.function.parameters';
    expect(body.error).toEqual({
      message: `${param}: the schema of get_weather has ${problem}`,
      type: 'invalid_request_error',
      code: 'invalid_value',
      param,
    });
    const named = await post(CHAT, { messages, json_schema: parameters }).expect(400);
    expect(named.body.error).toMatchObject({ param: 'json_schema', message: `json_schema: has ${problem}` });
  });

  test.each<[object, object?]>([
    [{}],
    [{ type: 'object' }],
    [{ type: 'object', properties: {}, required: [] }],
    [property({ type: ['string', 'null'], description: 'd', default: null })],
    [property({ type: 'string', nullable: true, format: 'email', examples: ['a'] })],
    [property({ enum: ['a', null] })],
    [property({ const: 1, type: 'any' })],
    [property({ $ref: '#' })],
    [{ ...property({ $ref: '#/$defs/a~1b' }), $defs: { 'a/b': { type: 'null' }, unused: { type: 'any' } } }],
    [{ type: 'object', properties: { type: { type: 'string' }, properties: { type: 'object' } } }],
    [{ type: 'object', additionalProperties: false }],
    [{ type: 'object', additionalProperties: true }],
    [{ not: {} }],
    // `true` allows anything, as `{}` does.
    [property(true), property({})],
    [
      { type: 'array', items: true },
      { type: 'array', items: {} },
    ],
    [{ anyOf: [true, { type: 'null' }] }, { anyOf: [{}, { type: 'null' }] }],
    [
      { $defs: { a: true }, $ref: '#/$defs/a' },
      { $defs: { a: {} }, $ref: '#/$defs/a' },
    ],
  ])('and %j is taken', async (parameters, kept = parameters) => {
    const generate = saying('x');
    const list = [{ type: 'function', function: { name: 'f', parameters } }];
    await post(CHAT, { messages, tools: list }, { generate }).expect(200);
    const [tool] = generate.requests[0]!.body.tools as any[];
    expect(tool.function.parameters ?? {}).toEqual(kept);
  });
});
