import type { HandlerFacts } from '../../../../src/backends/local/shaping/facts.js';
import { ChildRefusal } from '../../../../workers/child-http.js';
import {
  end,
  image,
  messages,
  mismatch,
  raw,
  run,
  said,
  tool,
  tools,
  type Play,
  type Setting,
} from './plays.js';

/** How a reply is put to a worker, and what becomes of one that a worker gives up: over a worker that plays a script. */

const badTemplate = new ChildRefusal(
  400,
  'invalid',
  'While executing X at line 1: Jinja Exception: roles must alternate',
);

const NONE: HandlerFacts = { schema: false, grammar: false, calls: false, reasoning: false };

const schema = { type: 'object', properties: { a: { type: 'integer' } } };
const response_format = { type: 'json_schema', json_schema: { name: 'x', schema } };

describe('a reply that the handler cannot read', () => {
  test('is generated again as text when nothing of it has come', async () => {
    const { asked, text, types, thrown } = await run({ max_tokens: 9, tools }, [
      [mismatch],
      [raw('a'), raw('b'), end()],
    ]);
    expect(thrown).toBeUndefined();
    expect(text).toBe('ab');
    expect(types[0]).toBe('unparsed');
    expect(asked.map(({ path }) => path)).toEqual(['/v1/chat/completions', '/v1/completions']);
    expect(asked[1]!.body).toMatchObject({ max_tokens: 9, prompt: JSON.stringify({ messages, tools }) });
    expect(asked[1]!.body).not.toHaveProperty('tools');
  });

  test('goes on as text where it broke off', async () => {
    const { asked, text } = await run({ max_tokens: 9 }, [
      [said('a'), said('b'), mismatch],
      [raw('c'), end()],
    ]);
    expect(text).toBe('abc');
    expect(asked[1]!.body.max_tokens).toBe(7);
    expect(JSON.parse(asked[1]!.body.prompt as string)).toEqual({
      messages: [...messages, { role: 'assistant', content: 'ab' }],
      continue_final_message: true,
      add_generation_prompt: false,
    });
  });

  test('is an error once it is text', async () => {
    const { thrown } = await run({}, [[mismatch], [mismatch]]);
    expect(thrown).toBe(mismatch);
  });

  test.each([
    ['a schema', { response_format }, { json_schema: schema }],
    ['any object', { response_format: { type: 'json_object' } }, { json_schema: { type: 'object' } }],
    ['a grammar', { grammar: 'root ::= "a"' }, { grammar: 'root ::= "a"' }],
  ])('is generated again with %s', async (_, body, field) => {
    const { asked, text, types } = await run(body, [[mismatch], [raw('a'), end()]]);
    expect(text).toBe('a');
    expect(types).not.toContain('unparsed');
    expect(asked[1]!.body).toMatchObject(field);
    expect(JSON.parse(asked[1]!.body.prompt as string)).toMatchObject({
      chat_template_kwargs: { enable_thinking: false },
    });
  });

  test('is an error when a part of its form has been passed on', async () => {
    const { thrown } = await run({ response_format }, [[said('{"a'), mismatch]]);
    expect(thrown).toMatchObject({ code: 'invalid_response', message: /the form that the request asks for/ });
  });

  test('becomes the call that was demanded', async () => {
    const { events } = await run({ tools: [tool('f')], tool_choice: 'required' }, [
      [said('Let me '), mismatch],
      [raw('{}'), end()],
    ]);
    expect(events).toContainEqual(
      expect.objectContaining({ call: expect.objectContaining({ name: 'f', arguments: '{}' }) }),
    );
  });
});

describe('what the handler does not enforce is enforced without it', () => {
  test.each([
    ['a schema', { response_format }, { json_schema: schema }],
    ['a grammar', { grammar: 'root ::= "a"' }, { grammar: 'root ::= "a"' }],
    [
      'a schema where no tool may be called',
      { tools, tool_choice: 'none', response_format },
      { json_schema: schema },
    ],
  ])('%s', async (_, body, field) => {
    const { asked } = await run(body, [[raw('a'), end()]], { handler: NONE });
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({ path: '/v1/completions', body: field });
    expect(asked[0]!.body).not.toHaveProperty('response_format');
  });

  test('what it enforces is left to it', async () => {
    for (const body of [{ response_format }, { grammar: 'root ::= "a"' }])
      expect((await run(body, [[said('a'), end()]])).asked).toMatchObject([
        { path: '/v1/chat/completions', body },
      ]);
  });

  test('the model chooses one of the tools, then writes its arguments', async () => {
    const { asked, events } = await run(
      { tools, tool_choice: 'required' },
      [
        [raw('"g"'), end()],
        [raw('{"a"'), raw(':1}'), end()],
      ],
      { handler: NONE },
    );
    expect(asked[0]!.body).toMatchObject({ json_schema: { enum: ['f', 'g'] }, max_tokens: 80 });
    expect(asked[1]!.body).toMatchObject({ json_schema: { type: 'object' } });
    expect(asked[1]!.body.prompt).toMatch(/<tool_call>\{"name": "g", "arguments": $/);
    const calls = events.flatMap((event) => (event.type === 'tool_call' ? event.call : []));
    expect(calls).toMatchObject([
      { index: 0, name: 'g', arguments: '{"a"' },
      { index: 0, arguments: ':1}' },
    ]);
  });

  test('a tool by name needs no choice', async () => {
    const { asked } = await run({ tools, tool_choice: tool('f') }, [[raw('{}'), end()]], { handler: NONE });
    expect(asked).toHaveLength(1);
    expect(asked[0]!.body.prompt).toMatch(/"name": "f", "arguments": $/);
  });

  test('a name that is none of the tools is an error', async () => {
    const plays = [[raw('"x"'), end()]];
    const { thrown } = await run({ tools, tool_choice: 'required' }, plays, { handler: NONE });
    expect(thrown).toMatchObject({ code: 'invalid_response', message: /did not call a tool/ });
  });

  test('an image cannot be part of the rendered prompt', async () => {
    const setting = { handler: NONE, images: true };
    const { asked, thrown } = await run({ messages: image, response_format }, [], setting);
    expect(thrown).toMatchObject({ code: 'invalid_response', message: /about an image/ });
    expect(asked).toEqual([]);
  });
});

describe('a model that talks instead of calling', () => {
  test('is made to call the demanded tool', async () => {
    const { asked, types } = await run({ tools, tool_choice: tool('f') }, [
      [said('No.'), end()],
      [raw('{}'), end()],
    ]);
    expect(types).toContain('tool_call');
    // The text that was passed on is part of the prompt.
    expect(asked[1]!.body.prompt).toMatch(/No\..*<tool_call>/s);
  });

  test('has no room for the call when max_tokens are used up', async () => {
    const { thrown } = await run({ tools, tool_choice: 'required', max_tokens: 2 }, [
      [said('a'), end('length')],
    ]);
    expect(thrown).toMatchObject({ code: 'invalid_response', message: /max_tokens were used up/ });
  });

  test('replies in the form of the schema where it may do either', async () => {
    const { asked, text } = await run({ tools, response_format }, [
      [said('No.'), end()],
      [raw('{}'), end()],
    ]);
    expect(text).toBe('{}');
    expect(asked[0]!.body).not.toHaveProperty('response_format');
    expect(asked[1]!.body).toMatchObject({ json_schema: schema });
  });
});

describe('a conversation that the template refuses', () => {
  test('is flattened once', async () => {
    const flat = { messages: [{ role: 'user', content: 'flat' }] };
    const { asked, text } = await run({}, [[badTemplate], [said('a'), end()]], { flat });
    expect(text).toBe('a');
    expect(asked[1]!.body).toMatchObject(flat);
    const { thrown, generation } = await run({}, [[badTemplate], [badTemplate]], { flat });
    expect(generation.refusal(thrown as ChildRefusal)).toMatchObject({
      code: 'invalid_value',
      param: 'messages',
      message: 'messages: the chat template of this model says: roles must alternate',
    });
  });

  test.each([
    ['that nothing flattens', {}],
    ['with MESSAGE_SHAPING=off', { flat: { messages }, options: {} }],
  ])('%s is refused', async (_, setting) => {
    expect((await run({}, [[badTemplate]], setting)).thrown).toBe(badTemplate);
  });
});

describe('text that was held back for a stop string when max_tokens were reached', () => {
  const body = { max_tokens: 5, stop: ['END', 'xy'] };
  const cut = [said('a'), said('b'), end('length')];

  test('is generated again without stop strings', async () => {
    const { asked, text, thrown } = await run(body, [cut, [raw('cx'), raw('E'), end('length')]]);
    expect(thrown).toBeUndefined();
    expect(text).toBe('abcxE');
    expect(asked[1]).toMatchObject({ path: '/v1/completions', body: { max_tokens: 3 } });
    expect(asked[1]!.body).not.toHaveProperty('stop');
    expect(asked[1]!.body.prompt).toEqual([JSON.stringify({ messages }), 97, 98]);
  });

  test('ends before a stop string', async () => {
    expect((await run(body, [cut, [raw('c'), raw('xyEND'), end()]])).text).toBe('abc');
    expect((await run(body, [cut, [raw('xy'), end()]])).text).toBe('ab');
  });

  test.each<[string, object, Play, Setting?]>([
    ['the request has no stop string', { max_tokens: 5 }, cut],
    ['the request has no limit', { stop: 'xy' }, cut],
    ['all tokens have come', { ...body, max_tokens: 2 }, cut],
    ['the reply ended by itself', body, [said('a'), end()]],
    ['the reply has a form', { ...body, response_format }, cut],
    ['the reply may be a call', { ...body, tools }, cut],
    ['the ids of the tokens are not known', body, cut, { unspelled: true }],
  ])('is not when %s', async (_, given, play, setting = {}) => {
    const { asked, thrown } = await run(given, [play], setting);
    expect(thrown).toBeUndefined();
    expect(asked).toHaveLength(1);
  });
});

test('log probabilities next to tools are refused before a worker is asked', async () => {
  for (const tool_choice of ['auto', 'none', 'required']) {
    const { asked, thrown } = await run({ tools, tool_choice, logprobs: true }, []);
    expect(thrown).toMatchObject({ code: 'invalid_value', param: 'logprobs' });
    expect(asked).toEqual([]);
  }
});

test('a last turn that calls a tool is refused before a worker is asked', async () => {
  const turn = { role: 'assistant', content: null, tool_calls: [{ id: 'c', ...tool('f') }] };
  const { asked, thrown } = await run({ messages: [...messages, turn] }, []);
  expect(thrown).toMatchObject({ code: 'invalid_value', param: 'messages', message: /result of the call/ });
  expect(asked).toEqual([]);
});

test('an image is refused by a model that takes none', async () => {
  expect((await run({ messages: image }, [])).thrown).toMatchObject({ code: 'invalid_value' });
});

test('without a prompt cache each request is evaluated from the start', async () => {
  const options = { promptCache: false };
  for (const [body, setting] of [
    [{}, { options }],
    [
      { tools, tool_choice: 'required' },
      { options, handler: NONE },
    ],
  ] as const) {
    const { asked } = await run(
      body,
      [
        [raw('"f"'), end()],
        [raw('{}'), end()],
      ],
      setting,
    );
    for (const { body: sent } of asked) expect(sent.cache_prompt).toBe(false);
  }
});

describe('whether the worker has evaluated the prompt', () => {
  const died = new Error('died');

  test.each<[string, boolean, Play[], number]>([
    ['a whole reply', true, [[said('a'), end()]], 1],
    ['a reply without text', true, [[end()]], 1],
    ['a reply that breaks after a token', true, [[said('a'), died]], 1],
    ['a reply that breaks before a token', false, [[died]], 1],
    ['a refused request', false, [[new ChildRefusal(400, 'invalid', 'no')]], 1],
    ['a reply that another worker had passed on whole', false, [[said('a'), said('b'), died]], 2],
  ])('%s: %s', async (_, expected, plays, runs) => {
    const { generation } = await run({ max_tokens: 2 }, plays, { runs });
    expect(generation.evaluated).toBe(expected);
  });
});
