import { post, saying } from '../../support/app.js';

/** What clients and agents keep of a conversation and send again: each shape is served, and no word of it is lost. */

const CHAT = '/v1/chat/completions';
const user = { role: 'user', content: 'hi' };
const image = 'data:image/png;base64,AAAA';
const call = (id?: unknown, args: unknown = '{}', more: object = {}) => ({
  ...(id === undefined ? {} : { id }),
  type: 'function',
  function: { name: 'f', arguments: args },
  ...more,
});
const calling = (...calls: object[]) => ({ role: 'assistant', content: null, tool_calls: calls });

/** The messages that reach the backend. */
async function sent(...messages: object[]): Promise<any[]> {
  const generate = saying('x');
  await post(CHAT, { messages }, { generate }).expect(200);
  return generate.requests[0]!.body.messages as any[];
}

describe.each(['system', 'developer', 'user', 'assistant', 'tool', 'function'])('a %s turn', (role) => {
  const known = { developer: 'system', function: 'tool' }[role] ?? role;
  const text = (words: string) => [{ type: 'text', text: words }];

  test.each<[string, object, unknown]>([
    ['text', { content: 'a' }, 'a'],
    ['an empty text', { content: '' }, ''],
    ['null', { content: null }, ''],
    ['nothing', {}, ''],
    ['an empty list', { content: [] }, ''],
    ['a list of texts', { content: ['a'] }, text('a')],
    ['text', { content: [{ type: 'text', text: 'a', annotations: null }] }, text('a')],
    ['input_text', { content: [{ type: 'input_text', text: 'a' }] }, text('a')],
    ['output_text', { content: [{ type: 'output_text', text: 'a', annotations: [] }] }, text('a')],
    ['a part with null', { content: [{ type: 'text', text: null }] }, text('')],
    ['a part without text', { content: [{ type: 'text' }] }, text('')],
    ['a refusal', { content: [{ type: 'refusal', refusal: 'no' }] }, text('no')],
    [
      'names and other fields',
      { content: 'a', name: null, audio: null, refusal: null, annotations: [] },
      'a',
    ],
    [
      'an image as text',
      { content: [{ type: 'image_url', image_url: image }] },
      [{ type: 'image_url', image_url: { url: image } }],
    ],
    [
      'an image as object',
      { content: [{ type: 'image_url', image_url: { url: image, detail: 'low' } }] },
      [{ type: 'image_url', image_url: { url: image } }],
    ],
    [
      'an input_image',
      { content: [{ type: 'input_image', image_url: image, detail: 'auto' }] },
      [{ type: 'image_url', image_url: { url: image } }],
    ],
  ])('may have as content %s: %j', async (_name, fields, content) => {
    expect((await sent(user, { role, ...fields }, user))[1]).toEqual({ role: known, content });
  });

  test.each([[7], [{ type: 'text', text: 'a' }], [[7]], [[{ type: 'video_url' }]], [[{ text: 'a' }]]])(
    'with content %j is 400',
    async (content) => {
      const { body } = await post(CHAT, { messages: [user, { role, content }] }).expect(400);
      expect(body.error.param).toMatch(/^messages\.1\.content/);
    },
  );
});

test.each<[string, object]>([
  ['thinking', { type: 'thinking', thinking: 'hm', signature: 's' }],
  ['thinking in parts', { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] }],
  ['reasoning', { type: 'reasoning', text: 'hm' }],
  ['a summary', { type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm' }] }],
])('a part with %s is reasoning of an assistant, and text of anybody else', async (_name, part) => {
  const content = [part, { type: 'text', text: 'a' }];
  const [, assistant, other] = await sent(user, { role: 'assistant', content }, { role: 'user', content });
  expect(assistant).toEqual({
    role: 'assistant',
    content: [{ type: 'text', text: 'a' }],
    reasoning_content: 'hm',
  });
  expect(other.content).toEqual([
    { type: 'text', text: 'hm' },
    { type: 'text', text: 'a' },
  ]);
});

test.each<[object, object]>([
  [{ content: 'a', reasoning_content: 'hm' }, { reasoning_content: 'hm' }],
  [{ content: 'a', reasoning: 'hm' }, { reasoning_content: 'hm' }],
  [{ content: 'a', reasoning_content: null, reasoning: null, function_call: null }, {}],
  [{ content: 'a', reasoning: { effort: 'low' }, reasoning_details: [], audio: { id: 'x' } }, {}],
  [{ content: 'a', tool_calls: [] }, {}],
  [{ content: 'a', tool_calls: null }, {}],
  [{ content: null, refusal: 'I cannot' }, { content: 'I cannot' }],
  [{ content: [], refusal: 'I cannot' }, { content: 'I cannot' }],
])('an assistant turn with %j', async (fields, kept) => {
  const turn = { role: 'assistant', content: 'a', ...kept };
  expect((await sent(user, { role: 'assistant', ...fields }, user))[1]).toEqual(turn);
});

test.each([
  [['assistant', 'user']],
  [['user', 'user']],
  [['user', 'assistant', 'assistant', 'user']],
  [['user', 'system', 'user']],
  [['tool', 'user']],
  [['user', 'assistant', 'tool', 'tool', 'developer', 'user']],
  [['assistant']],
  [['system']],
])('turns in the order %j keep it', async (roles) => {
  const turns = await sent(...roles.map((role) => ({ role, content: role })));
  expect(turns.map(({ content }) => content)).toEqual(roles);
});

describe('calls', () => {
  test.each<[string, unknown, string]>([
    ['JSON', '{"a": 1}', '{"a": 1}'],
    ['an object', { a: 1 }, '{"a":1}'],
    ['an empty object', {}, '{}'],
    ['an empty list, as PHP writes it', [], '{}'],
    ['null', null, '{}'],
    ['an empty text', '', '{}'],
    ['blanks', ' \n', '{}'],
    ['cut JSON', '{"path":"a', '"{\\"path\\":\\"a"'],
    ['no JSON', 'not JSON', '"not JSON"'],
    ['two objects', '{}{}', '"{}{}"'],
    ['a list', '[1]', '[1]'],
    ['duplicate keys', '{"a":1,"a":2}', '{"a":1,"a":2}'],
    ['a NUL', 'a\0', '"a\ufffd"'],
    ['half an emoji', '{"a":"\ud83d"}', '{"a":"\ufffd"}'],
    ['an escaped NUL', '{"a\\u0000":["\\u0000"]}', '{"a\ufffd":["\ufffd"]}'],
    ['half an emoji, escaped', '{"a":"\\ud83d"}', '{"a":"\ufffd"}'],
    ['a whole emoji, escaped', '{"a":"\\ud83d\\ude00"}', '{"a":"😀"}'],
    ['half an emoji in an object', { a: '\ud83d' }, '{"a":"\ufffd"}'],
  ])('have arguments that are JSON: %s', async (_name, given, expected) => {
    const [, turn] = await sent(user, calling(call('c', given)), { role: 'tool', tool_call_id: 'c' });
    expect(turn.tool_calls).toEqual([call('c', expected)]);
    expect(() => JSON.parse(expected)).not.toThrow();
  });

  test('need no type, name or arguments', async () => {
    const bare = { id: 'c', type: null, index: 0, function: { name: '' } };
    const [, turn] = await sent(user, calling(bare));
    expect(turn).toEqual(calling({ ...call('c'), function: { name: 'unknown', arguments: '{}' } }));
  });

  test.each([[undefined], [null], ['']])(
    'without an id (%j) get one, and so do their results, each call one result',
    async (id) => {
      const result = (content: string, name?: string) => ({ role: 'tool', content, tool_call_id: id, name });
      const g = { ...call(id), function: { name: 'g', arguments: '{}' } };
      const [, turn, ...results] = await sent(
        user,
        calling(call(id), g, call(id)),
        result('of g', 'g'),
        result('of f'),
        result('of the second f', 'f'),
        result('of none'),
      );
      const ids = turn.tool_calls.map((one: { id: string }) => one.id);
      expect(new Set(ids).size).toBe(3);
      for (const one of ids) expect(one).toMatch(/^[a-z0-9]{9}$/i);
      expect(results.map((one) => one.tool_call_id)).toEqual([ids[1], ids[0], ids[2], undefined]);
    },
  );

  test('keep ids that are used twice, unknown, or numbers', async () => {
    const turns = await sent(
      user,
      calling(call('c'), call('c')),
      { role: 'tool', tool_call_id: 'other', content: 'a' },
      calling(call(7)),
      { role: 'tool', tool_call_id: 7, content: 'b' },
    );
    expect(turns[1].tool_calls.map((one: { id: string }) => one.id)).toEqual(['c', 'c']);
    expect(turns[2].tool_call_id).toBe('other');
    expect(turns[3].tool_calls[0].id).toBe('7');
    expect(turns[4].tool_call_id).toBe('7');
  });

  test('of the old kind become calls with a result', async () => {
    const [, turn, result] = await sent(
      user,
      { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{"a":1}' } },
      { role: 'function', name: 'f', content: '42' },
    );
    expect(turn).toEqual(calling(call('call00001', '{"a":1}')));
    expect(result).toEqual({ role: 'tool', content: '42', tool_call_id: 'call00001' });
  });
});

test.each(['a\0b', 'a\ud83d', '\udc00b'])(
  'what no tokeniser takes is replaced in turns that no person wrote: %j',
  async (bad) => {
    const good = bad.replace(/[^ab]/, '\ufffd');
    const turns = await sent(
      user,
      { ...calling(call(bad, '{}')), content: bad, reasoning_content: bad },
      { role: 'tool', tool_call_id: bad, content: [{ type: 'text', text: bad }] },
    );
    expect(turns.slice(1)).toEqual([
      { ...calling(call(good, '{}')), content: good, reasoning_content: good },
      { role: 'tool', tool_call_id: good, content: [{ type: 'text', text: good }] },
    ]);
  },
);

test('/complete takes back its own reply', async () => {
  const asked = { model: 'm', messages: [user] };
  const { body } = await post('/complete', asked, { generate: saying('Hi') }).expect(200);
  const { content, tool_calls } = body as { content: string; tool_calls: [] };
  const turn = { role: 'assistant', content, tool_calls };
  await post('/complete', { ...asked, messages: [user, turn, user] }, { generate: saying('x') }).expect(200);
});
