import { adapt } from '../../../../../src/backends/local/shaping/adapt.js';
import { STRICTEST, type TemplateFacts } from '../../../../../src/backends/local/shaping/facts.js';
import type { JsonObject } from '../../../../../src/contract.js';

/** A template that takes everything. */
const LAX = Object.fromEntries(
  Object.keys(STRICTEST).map((fact) => [fact, true]),
) as unknown as TemplateFacts;

const without = (...facts: (keyof TemplateFacts)[]): TemplateFacts => ({
  ...LAX,
  ...Object.fromEntries(facts.map((fact) => [fact, false])),
});

const s = (content: unknown) => ({ role: 'system', content });
const u = (content: unknown) => ({ role: 'user', content });
const a = (content: string | null) => ({ role: 'assistant', content });
const call = (id: string, json = '{"at":1}', name = 'look') => ({
  id,
  type: 'function',
  function: { name, arguments: json },
});
const c = (content: string | null, ...calls: object[]) => ({ ...a(content), tool_calls: calls });
/** A result as clients send it, and as it is once its call is found. */
const sent = (id: string, content: string) => ({ role: 'tool', content, tool_call_id: id });
const t = (id: string, content: string) => ({ ...sent(id, content), name: 'look' });
const text = (value: string) => ({ type: 'text', text: value });
const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } };
const tools = [{ type: 'function', function: { name: 'look' } }];
const LOOK = '<tool_call>{"name": "look", "arguments": {"at":1}}</tool_call>';

const body = (messages: object[], more: JsonObject = {}): JsonObject => ({ messages, ...more }) as JsonObject;

type Row = [title: string, facts: TemplateFacts, messages: object[], adapted: object[], kinds: string[]];

test.each<Row>([
  [
    'system messages without a system role go to the user’s next turn',
    without('system', 'repeatedSystem', 'laterSystem', 'systemAlone'),
    [s('S'), s('T'), u('A'), a('B'), s('U'), u('C')],
    [u('S\n\nT\n\nA'), a('B'), u('U\n\nC')],
    ['system_message'],
  ],
  [
    'only the later system message moves where the first may stay',
    without('laterSystem'),
    [s('S'), u('A'), a('B'), s('T'), u('C')],
    [s('S'), u('A'), a('B'), u('T\n\nC')],
    ['system_message'],
  ],
  [
    'two system messages become one',
    without('repeatedSystem'),
    [s('S'), s('T'), u('A')],
    [s('S\n\nT'), u('A')],
    ['system_message'],
  ],
  [
    'a system message alone becomes a user turn',
    without('systemAlone'),
    [s('S')],
    [u('S')],
    ['system_message'],
  ],
  [
    'a system message before an assistant turn becomes a user turn',
    without('laterSystem'),
    [u('A'), s('S'), a('B'), s('T')],
    [u('A'), u('S'), a('B'), u('T')],
    ['system_message'],
  ],
  [
    'a system message that is dropped before a result goes to the user’s last turn',
    without('lastingSystem'),
    [s('S'), s('T'), u('A'), a('B'), u([image]), c(null, call('1')), sent('1', 'R')],
    [u('A'), a('B'), u([text('S\n\nT'), image]), c(null, call('1')), t('1', 'R')],
    ['system_message'],
  ],
  [
    'and becomes one where the user has none',
    without('lastingSystem'),
    [s('S'), a('A')],
    [u('S'), a('A')],
    ['system_message'],
  ],
  [
    'but not to a turn that is added to a result',
    without('lastingSystem', 'userAfterResult'),
    [s('S'), u('A'), c(null, call('1')), sent('1', 'R'), u('B')],
    [u('S\n\nA'), c(null, call('1')), t('1', 'R\n\nB')],
    ['turn_order', 'system_message'],
  ],
  [
    'turns of a role become one, reasoning and all',
    without('repeatedUser', 'repeatedAssistant'),
    [u('A'), u('B'), { ...a('C'), reasoning_content: 'x' }, { ...a('D'), reasoning_content: 'y' }],
    [u('A\n\nB'), { ...a('C\n\nD'), reasoning_content: 'x\n\ny' }],
    ['merged_turns'],
  ],
  [
    'images stay parts when turns become one',
    without('repeatedUser'),
    [u([text('A'), image]), u('B'), u([text('C')])],
    [u([text('A'), image, text('B\n\nC')])],
    ['merged_turns'],
  ],
  [
    'several texts of a message become one, around images too',
    without('textParts'),
    [s([text('S'), text('T')]), u([text('A'), text('B'), image, text(''), text('C')])],
    [s([text('S\n\nT')]), u([text('A\n\nB'), image, text('C')])],
    ['text_parts'],
  ],
  [
    'nothing is put before an empty text',
    without('repeatedUser'),
    [u(''), u('B')],
    [u('B')],
    ['merged_turns'],
  ],
  [
    'a user turn opens what the assistant begins, after the system message',
    without('assistantFirst'),
    [s('S'), a('A'), u('B')],
    [s('S'), u('…'), a('A'), u('B')],
    ['opening_turn'],
  ],
  [
    'a call that no question led to follows a turn of the user on every template',
    LAX,
    [s('S'), c(null, call('1')), sent('1', 'R')],
    [s('S'), u('…'), c(null, call('1')), t('1', 'R')],
    ['opening_turn'],
  ],
  [
    'the reasoning of a turn goes where it would hide the text',
    without('textBesideReasoning'),
    [u('A'), { ...a('B'), reasoning_content: 'x' }, u('C')],
    [u('A'), a('B'), u('C')],
    ['reasoning'],
  ],
  [
    'calls and results become text',
    without('toolTurns'),
    [u('A'), c('B', call('1')), sent('1', 'R'), u('C')],
    [u('A'), a(`B\n\n${LOOK}`), u('Result of look:\nR'), u('C')],
    ['tool_turns'],
  ],
  [
    'a result without its call becomes text',
    without('resultWithoutCall'),
    [u('A'), c(null, call('1')), sent('1', 'R'), sent('2', 'S')],
    [u('A'), c(null, call('1')), t('1', 'R'), u('Result of a function:\nS')],
    ['tool_turns'],
  ],
  [
    'two calls become two turns, each with its result',
    without('parallelCalls'),
    [u('A'), c('B', call('1'), call('2')), sent('2', 'S'), sent('1', 'R')],
    [u('A'), c('B', call('1')), t('1', 'R'), c(null, call('2')), t('2', 'S')],
    ['parallel_calls'],
  ],
  [
    'arguments that are no object become one',
    without('plainArguments'),
    [u('A'), c(null, call('1', '"x"'), call('2', '{"cut'), call('3', '{}')), sent('1', 'R')],
    [
      u('A'),
      c(null, call('1', '{"arguments":"x"}'), call('2', '{"arguments":"{\\"cut"}'), call('3', '{}')),
      t('1', 'R'),
    ],
    ['call_arguments'],
  ],
  [
    'objects and lists among the arguments become text',
    without('nestedArguments'),
    [u('A'), c(null, call('1', '{"a":{"b":1},"c":[2],"d":null}'), call('2', '{}')), sent('1', 'R')],
    [u('A'), c(null, call('1', '{"a":"{\\"b\\":1}","c":"[2]","d":null}'), call('2', '{}')), t('1', 'R')],
    ['call_arguments'],
  ],
  [
    'a user turn is added to the result before it',
    without('userAfterResult'),
    [u('A'), c(null, call('1')), sent('1', 'R'), u('B')],
    [u('A'), c(null, call('1')), t('1', 'R\n\nB')],
    ['turn_order'],
  ],
  [
    'a text beside calls becomes a turn before them',
    without('textBesideCalls'),
    [u('A'), c('B', call('1')), sent('1', 'R')],
    [u('A'), a('B'), c(null, call('1')), t('1', 'R')],
    ['turn_order'],
  ],
  [
    'texts between two user turns become the last of them, where roles must alternate',
    without('repeatedAssistant', 'userAfterResult', 'textBesideCalls'),
    [u('A'), c('B', call('1')), sent('1', 'R'), c('C', call('2')), sent('2', 'S'), a('D'), u('E')],
    [u('A'), c(null, call('1')), t('1', 'R'), c(null, call('2')), t('2', 'S'), a('B\n\nC\n\nD'), u('E')],
    ['turn_order'],
  ],
  [
    'and the first of them if no text comes last',
    without('repeatedAssistant', 'userAfterResult', 'textBesideCalls'),
    [u('A'), c('B', call('1')), sent('1', 'R'), u('E')],
    [u('A'), a('B'), c(null, call('1')), t('1', 'R'), u('E')],
    ['turn_order'],
  ],
  [
    'a call without result becomes text, where roles must alternate',
    without('repeatedAssistant', 'userAfterResult'),
    [u('A'), c(null, call('1')), u('B'), a('C')],
    [u('A'), a(LOOK), u('B'), a('C')],
    ['turn_order'],
  ],
])('%s', (_, facts, messages, adapted, kinds) => {
  const before = structuredClone(messages);
  const result = adapt(body(messages), facts);
  expect(result).toEqual({ body: { messages: adapted }, kinds });
  expect(messages).toEqual(before);
  // What was adapted needs no adapting.
  expect(adapt(result.body, facts).kinds).toEqual([]);
});

test('a conversation that the template takes is the same object', () => {
  const asked = body([s('S'), u('A'), a('B'), u('C')], { tools });
  expect(adapt(asked, LAX)).toEqual({ body: asked, kinds: [] });
  expect(adapt(asked, LAX).body).toBe(asked);
});

test('a result gets the name of its call, and the id if it has none', () => {
  const messages = [
    u('A'),
    c(null, call('1'), call('2', '{}', 'listen')),
    { role: 'tool', content: 'R' },
    sent('2', 'S'),
  ];
  expect(adapt(body(messages), LAX)).toEqual({
    body: { messages: [...messages.slice(0, 2), t('1', 'R'), { ...sent('2', 'S'), name: 'listen' }] },
    kinds: [],
  });
});

test('ids are shortened to nine letters and digits, the same in each request of a conversation', () => {
  const messages = [
    u('A'),
    c(null, call('call_1'), call('abcdefgh1')),
    sent('call_1', 'R'),
    sent('abcdefgh1', 'S'),
  ];
  const shortened = (list: object[]) => {
    const { messages: got } = adapt(body(list), without('longCallIds')).body as any;
    return [
      ...got[1].tool_calls.map(({ id }: { id: string }) => id),
      ...got.slice(2).map((m: any) => m.tool_call_id),
    ];
  };
  const [one, two, ...results] = shortened(messages);
  expect(one).toMatch(/^[a-z0-9]{9}$/);
  expect(two).toBe('abcdefgh1');
  expect(results).toEqual([one, two]);
  expect(shortened([...messages, a('B'), u('C')]).slice(0, 2)).toEqual([one, two]);
});

test('tools that the template drops are described to the model, and kept if it has a form for calls', () => {
  const asked = body([s('S'), u('A')], { tools, tool_choice: 'auto', max_tokens: 4 });
  const described = (facts: TemplateFacts) => adapt(asked, facts);
  const known = described(without('tools'));
  expect(known.body).toMatchObject({ tools, tool_choice: 'auto' });
  expect(known.kinds).toEqual(['tool_definitions']);
  const unknown = described(without('tools', 'toolTurns'));
  expect(unknown.body).toEqual({ messages: [s(expect.any(String) as never), u('A')], max_tokens: 4 });
  const [system] = unknown.body.messages as { content: string }[];
  expect(system!.content).toContain('S\n\nYou can call these functions:\n{"name":"look"}');
  expect(system!.content).toContain('<tool_call>');
});

test('the strictest template gets texts of the user and the assistant in turn, and every word', () => {
  const messages = [
    ...[s('w1'), a('w2'), u('w3'), u('w4'), c('w5', call('1', '{"at":"w6"}'), call('2', '{"at":"w7"}'))],
    ...[sent('2', 'w8'), sent('1', 'w9'), s('w10'), u('w11'), a('w12'), a('w13'), u('w14')],
  ];
  const { messages: got } = adapt(body(messages, { tools }), STRICTEST).body as { messages: JsonObject[] };
  expect(got.map(({ role }, at) => [role, at % 2])).toEqual(
    got.map((_, at) => [at % 2 === 0 ? 'user' : 'assistant', at % 2]),
  );
  const words = JSON.stringify(got).match(/w\d+/g);
  expect(words!.sort()).toEqual(Array.from({ length: 14 }, (_, at) => `w${at + 1}`).sort());
});

test('a long conversation is adapted in linear time', () => {
  const messages = Array.from({ length: 200_000 }, (_, at) => (at % 2 ? u('x') : s('y')));
  expect(adapt(body(messages), STRICTEST).kinds).toContain('merged_turns');
});
