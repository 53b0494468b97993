import fc from 'fast-check';
import { Affinity, cacheBlocks } from '../../../src/pool/affinity.js';
import { BLOCK, conversationText, placesOf, prefixKey } from '../../../src/pool/prefix.js';

const text = (letter: string, blocks: number) => letter.repeat(blocks * BLOCK);
const idle = (...ids: string[]) => ids.map((id) => ({ id, leased: 0 }));

test('two texts share as many leading hashes as leading blocks', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 400 }), fc.string({ maxLength: 400 }), fc.string(), (same, a, b) => {
      const keys = [prefixKey(same + a), prefixKey(same + b)];
      const common = Math.floor(same.length / BLOCK);
      expect(keys[0]!.slice(0, common)).toEqual(keys[1]!.slice(0, common));
    }),
  );
  const [one, other] = [prefixKey(`x${text('a', 3)}`), prefixKey(`y${text('a', 3)}`)];
  expect(one.filter((hash, i) => hash === other[i])).toEqual([]);
});

test("the key of a conversation's next turn begins with the previous turn and its reply", () => {
  const messages = [{ role: 'user', content: text('q', 2) }];
  const reply = { role: 'assistant', content: text('r', 2) };
  const next = [...messages, reply, { role: 'user', content: 'more' }];
  const before = prefixKey(conversationText({ messages }, text('r', 2)));
  expect(prefixKey(conversationText({ messages: next })).slice(0, before.length)).toEqual(before);
});

test('keys include raw prompts and tools', () => {
  expect(conversationText({ prompt: 'p' }, 'r')).toBe('pr');
  const tools = [{ type: 'function', function: { name: 'f' } }];
  expect(conversationText({ messages: [], tools })).toContain('"name":"f"');
});

test('a key is limited to the requested number of blocks, so that a long prompt does not evict its own beginning', () => {
  const long = text('a', 50);
  expect(prefixKey(long, 8)).toEqual(prefixKey(long).slice(0, 8));
  const affinity = new Affinity(8);
  affinity.note('w', prefixKey(long, 8));
  expect(affinity.expected('w', prefixKey(long, 8))).toBe(8 * BLOCK);
});

describe('the chosen worker', () => {
  test('is the one that has the prefix cached', () => {
    const affinity = new Affinity(100);
    affinity.note('b', prefixKey(text('x', 4)));
    const key = prefixKey(text('x', 5));
    expect(affinity.choose(idle('a', 'b', 'c'), key)?.id).toBe('b');
    expect([affinity.expected('b', key), affinity.expected('a', key)]).toEqual([4 * BLOCK, 0]);
  });

  test('is another one when sharing a worker costs more than the cached prefix saves', () => {
    const affinity = new Affinity(100);
    affinity.note('b', prefixKey(text('x', 4)));
    const workers = [...idle('a'), { id: 'b', leased: 3 }];
    expect(affinity.choose(workers, prefixKey(text('x', 5)))?.id).toBe('a');
  });

  test('is the least busy, then the least recently used one when no prefix is cached', () => {
    const affinity = new Affinity(100);
    const none = prefixKey('short');
    expect(affinity.choose([{ id: 'a', leased: 1 }, ...idle('b')], none)?.id).toBe('b');
    for (const id of ['a', 'b', 'c', 'a']) affinity.note(id, none);
    expect(affinity.choose(idle('a', 'b', 'c'), none)?.id).toBe('b');
  });

  test('is undefined without candidates', () => expect(new Affinity(1).choose([], [])).toBeUndefined());
});

test('a worker that has exited has nothing cached', () => {
  const affinity = new Affinity(100);
  affinity.note('a', prefixKey(text('x', 4)));
  affinity.forget('a');
  expect(affinity.expected('a', prefixKey(text('x', 4)))).toBe(0);
});

test('only the latest blocks within the capacity are remembered', () => {
  const affinity = new Affinity(4);
  affinity.note('a', prefixKey(text('x', 4)));
  affinity.note('a', prefixKey(text('y', 2)));
  expect(affinity.expected('a', prefixKey(text('y', 2)))).toBe(2 * BLOCK);
  expect(affinity.expected('a', prefixKey(text('x', 4)))).toBe(0);
});

test('the capacity is the size of the caches, at most 65,536 blocks', () => {
  expect(cacheBlocks(2, 4096, false)).toBe(256);
  expect(cacheBlocks(2, 4096, true)).toBe(1024);
  expect(cacheBlocks(64, 131_072, true)).toBe(65_536);
});

describe('a prompt departs', () => {
  const noted = (...texts: string[]) => {
    const affinity = new Affinity(100);
    for (const one of texts) affinity.note('w', prefixKey(one));
    return (prompt: string) => affinity.departure('w', prefixKey(prompt));
  };

  test('where an earlier one continued otherwise', () => {
    const departure = noted(text('a', 2) + text('b', 4));
    expect(departure(text('a', 2) + text('c', 4))).toBe(2 * BLOCK);
    expect(departure(text('x', 4))).toBe(0);
  });

  test('nowhere if it is the same, shorter or continues it', () => {
    const departure = noted(text('a', 4));
    for (const blocks of [3, 4, 6]) expect(departure(text('a', blocks))).toBeUndefined();
  });

  test('nowhere on a worker that was sent nothing', () => {
    expect(noted()(text('a', 4))).toBeUndefined();
    expect(noted(text('a', 4), 'short')('shorter')).toBeUndefined();
  });
});

test('the place of a character is that of the tool or message that it belongs to', () => {
  const tool = (name: string) => ({ type: 'function', function: { name } });
  const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } };
  const turns = [
    { role: 'user', content: text('q', 1) },
    { role: 'assistant', content: null, tool_calls: [call] },
  ];
  const body = { tools: [tool('f'), tool('g')], messages: turns };
  const whole = conversationText(body);
  expect(placesOf(body, 0, 10)).toEqual(['tools[0]']);
  const user = whole.indexOf('qq');
  expect(placesOf(body, user, user + 1)).toEqual(['messages[0]']);
  expect(placesOf(body, user - 20, user + 1)).toEqual(['tools[1]', 'messages[0]']);
  const called = whole.indexOf('"arguments"');
  expect(placesOf(body, called, called + 1)).toEqual(['messages[1]']);
  expect(placesOf({ prompt: 'abc' }, 1, 2)).toEqual(['prompt']);
});
