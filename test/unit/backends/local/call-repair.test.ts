import type { Chunk } from '../../../../src/backends/chunk.js';
import type { GenerateEvent, JsonObject } from '../../../../src/contract.js';
import { ChildRefusal } from '../../../../workers/child-http.js';
import { WorkerFailure } from '../../../../workers/failure.js';
import { called, end, image, mismatch, raw, run, tools, type Play, type Setting } from './plays.js';

/** Arguments of calls in which the model slipped, over a worker that plays a script. */

const more = (text: string, index = 0): Chunk => ({
  choices: [{ delta: { tool_calls: [{ index, function: { arguments: text } }] } }],
});
const used = (completion_tokens: number, cached_tokens: number): Chunk => ({
  usage: {
    prompt_tokens: 20,
    completion_tokens,
    prompt_tokens_details: { cached_tokens },
  },
});
const refused = new ChildRefusal(400, 'invalid_request_error', 'Failed to initialize samplers');
const died = new WorkerFailure('died', 'the worker died', '');

/** A call that breaks off after its last sound token, and one that goes wrong in its third. */
const broken: Play = [called('f'), more('"a":'), end('tool_calls')];
const wrong: Play = [called('f'), more('"a":'), more('x'), more('}'), end('tool_calls')];
const mended: Play = [raw('1'), raw('}'), end()];

function callsIn(events: readonly GenerateEvent[]): string[] {
  const calls: string[] = [];
  for (const event of events) {
    if (event.type !== 'tool_call') continue;
    const { index, name = '', arguments: json = '' } = event.call;
    calls[index] = (calls[index] ?? '') + name + json;
  }
  return calls;
}

async function repaired(plays: readonly Play[], body: object = {}, setting: Setting = {}) {
  const slips: boolean[] = [];
  const observer = { callRepaired: ({ repaired: done }: { repaired: boolean }) => void slips.push(done) };
  const options = { messageShaping: true, observer: observer as never };
  const ran = await run({ tools, ...body }, plays, { options, ...setting });
  const finish = ran.events.find((event) => event.type === 'finish')?.reason;
  const usage = ran.events.find((event) => event.type === 'usage')?.usage;
  return { ...ran, calls: callsIn(ran.events), finish, usage, slips };
}

describe('arguments that are not JSON', () => {
  test.each<[string, Play]>([
    ['break off', broken],
    ['go wrong', wrong],
    ['break off with an error of the handler', [called('f'), more('"a":'), mismatch]],
    ['go wrong and end with an error of the handler', [...wrong.slice(0, -1), mismatch]],
  ])('and %s go on from the last token of JSON, by the schema of their tool', async (_, play) => {
    const { asked, calls, finish, slips, types, thrown } = await repaired([play, mended]);
    expect(thrown).toBeUndefined();
    expect(calls).toEqual(['f{"a":1}']);
    expect(finish).toBe('tool_calls');
    expect(asked).toHaveLength(2);
    expect(asked[1]).toMatchObject({
      path: '/v1/completions',
      body: { json_schema: { type: 'object' }, generation_prompt: '{"a":' },
    });
    expect(types.filter((type) => type === 'slip' || type === 'repair')).toEqual(['slip', 'repair']);
    expect(slips).toEqual([true]);
  });

  test('are passed on while they begin a JSON text, and never beyond', async () => {
    const passed: string[] = [];
    const look = (events: readonly GenerateEvent[]) => void passed.push(...callsIn(events));
    await repaired([
      [called('f'), look, more('"a":'), look, more('x'), look, end()],
      [look, ...mended],
    ]);
    expect(passed).toEqual(['f{', 'f{"a":', 'f{"a":', 'f{"a":']);
  });

  test('stand in the prompt as the template writes a call, then as the ids of their tokens', async () => {
    const render = ({ messages }: JsonObject) => {
      const [, turn] = messages as unknown as { tool_calls?: { function: Record<string, string> }[] }[];
      const [call] = turn?.tool_calls ?? [];
      return `<user>hi<call>${call?.function.name} ${call?.function.arguments}<end>`;
    };
    const { asked } = await repaired([broken, mended], {}, { render });
    const ids = [...' {"a":'].map((character) => character.charCodeAt(0));
    expect(asked[1]!.body.prompt).toEqual(['<user>hi<call>f', ...ids]);
    const { asked: unspelled } = await repaired([broken, mended], {}, { render, unspelled: true });
    expect(unspelled[1]!.body.prompt).toBe('<user>hi<call>f {"a":');
  });

  test('stand in the prompt behind a call of our own where the template writes none', async () => {
    const { asked } = await repaired([broken, mended], {}, { render: () => 'Hi', unspelled: true });
    expect(asked[1]!.body.prompt).toBe('Hi<tool_call>{"name": "f", "arguments": {"a":');
  });

  test('are any JSON where the schema does not allow what stands', async () => {
    const { asked, calls } = await repaired([broken, [refused], mended]);
    expect(calls).toEqual(['f{"a":1}']);
    expect(asked[2]!.body.grammar).toMatch(/^root ::= ws value ws pairs ws\n/);
    expect(asked[2]!.body).not.toHaveProperty('json_schema');
  });

  test('get only keys of their schema that they do not have yet', async () => {
    const grammarFor = async (parameters: object) => {
      const own = [{ type: 'function', function: { name: 'f', parameters } }];
      const { asked } = await repaired([[called('f', '{"a":"b"'), end()], [refused], [raw('}'), end()]], {
        tools: own,
      });
      return asked[2]!.body.grammar;
    };
    const properties = { a: {}, b: {}, c: {} };
    expect(await grammarFor({ properties })).toContain('outer-pair ::= ("\\"b\\"" | "\\"c\\"") ws');
    expect(await grammarFor({ properties, additionalProperties: true })).not.toContain('outer');
  });

  test('are any JSON where the schema lets the model slip again, and go on from there', async () => {
    const { asked, calls } = await repaired([broken, [raw('"b"'), raw('c'), end()], [raw('}'), end()]]);
    expect(calls).toEqual(['f{"a":"b"}']);
    expect(asked[2]!.body.grammar).toMatch(/^root ::= ws pairs ws\n/);
  });

  test('that are whole before something else end there, without another request', async () => {
    const { asked, calls, slips } = await repaired([[called('f'), more('}'), more('}'), end('tool_calls')]]);
    expect(calls).toEqual(['f{}']);
    expect(asked).toHaveLength(1);
    expect(slips).toEqual([true]);
  });

  test('of the last of several calls go on, whatever its number', async () => {
    const two = [called('f', '{}', 0), called('g', '{', 1), more('x', 1), end('tool_calls')];
    expect((await repaired([two, [raw('}'), end()]])).calls).toEqual(['f{}', 'g{}']);
  });

  test('of a forced call go on as well', async () => {
    const setting = { handler: { schema: false, grammar: false, calls: false, reasoning: false } };
    const forced = [raw('{"a"'), raw('x'), end()];
    const body = { tools: [tools[0]], tool_choice: 'required' };
    expect((await repaired([forced, [raw(':1}'), end()]], body, setting)).calls).toEqual(['f{"a":1}']);
  });
});

describe('arguments are delivered as they are', () => {
  test.each<[string, readonly Play[], string]>([
    ['when nothing goes on from them', [wrong, [refused], [refused]], '{"a":x}'],
    ['when the worker dies before it goes on', [wrong, [died], [died]], '{"a":x}'],
    ['when the model slips each time', [wrong, [raw('y'), end()], [raw('z'), end()]], '{"a":z'],
  ])('%s', async (_, plays, json) => {
    const { calls, finish, thrown, slips } = await repaired(plays);
    expect(thrown).toBeUndefined();
    expect(calls).toEqual([`f${json}`]);
    expect(finish).toBe('tool_calls');
    expect(slips).toEqual([false]);
  });

  test.each<[string, Play, object?]>([
    ['max_tokens', [...wrong.slice(0, -1), end('length')]],
    [
      'a stop string',
      [
        ...wrong.slice(0, -1),
        { choices: [{ delta: {}, finish_reason: 'tool_calls' }], __verbose: { stopping_word: '!' } },
      ],
      { stop: '!' },
    ],
    ['a stop string, perhaps', wrong, { stop: '!', messages: [{ role: 'user', content: 'a'.repeat(5e5) }] }],
  ])('after %s, which is no slip', async (_, play, body = {}) => {
    const { asked, calls, slips } = await repaired([play], body);
    expect(asked).toHaveLength(1);
    expect(calls).toEqual(['f{"a":x}']);
    expect(slips).toEqual([]);
  });

  test('about an image, of which no prompt can be rendered', async () => {
    const { asked, calls } = await repaired([wrong], { messages: image }, { images: true });
    expect(asked).toHaveLength(1);
    expect(calls).toEqual(['f{"a":x}']);
  });

  test('when another call follows', async () => {
    const { asked, calls } = await repaired([
      [...wrong.slice(0, -1), called('g', '{}', 1), end('tool_calls')],
    ]);
    expect(asked).toHaveLength(1);
    expect(calls).toEqual(['f{"a":x}', 'g{}']);
  });
});

test('a call that needs no arguments is not asked for any', async () => {
  const { asked, calls } = await repaired([[called('f', ''), end('tool_calls')]]);
  expect(asked).toHaveLength(1);
  expect(calls).toEqual(['f{}']);
});

test('a call that is whole when the handler gives it up is delivered', async () => {
  const { asked, calls, finish, slips } = await repaired([[called('f', '{}'), mismatch]]);
  expect(asked).toHaveLength(1);
  expect(calls).toEqual(['f{}']);
  expect(finish).toBe('tool_calls');
  expect(slips).toEqual([]);
});

test('the prompt counts once, and every token that was generated', async () => {
  const { usage, asked } = await repaired(
    [
      [...wrong, used(9, 5)],
      [...mended, used(2, 30)],
    ],
    {
      max_tokens: 15,
    },
  );
  expect(usage).toEqual({ promptTokens: 20, completionTokens: 11, cachedTokens: 5 });
  expect(asked[1]!.body.max_tokens).toBe(6);
});

test('without room for more the arguments stay as they are', async () => {
  const { asked, calls } = await repaired([[...wrong, used(9, 0)]], { max_tokens: 9 });
  expect(asked).toHaveLength(1);
  expect(calls).toEqual(['f{"a":x}']);
});

test('the limit of tokens ends the rest of the arguments, and the reply', async () => {
  const { calls, finish, slips } = await repaired([broken, [raw('1'), end('length')]], { max_tokens: 9 });
  expect(calls).toEqual(['f{"a":1']);
  expect(finish).toBe('length');
  expect(slips).toEqual([false]);
});

test('a client that leaves ends the rest of the arguments', async () => {
  const controller = new AbortController();
  const leave = () => controller.abort(new Error('left'));
  const { thrown, asked } = await repaired([broken, [leave, died]], {}, { signal: controller.signal });
  expect(thrown).toMatchObject({ message: 'left' });
  expect(asked).toHaveLength(2);
});

test('a worker that dies after more arguments have been passed on breaks the reply', async () => {
  const { thrown } = await repaired([broken, [raw('1'), died]]);
  expect(thrown).toBe(died);
});
