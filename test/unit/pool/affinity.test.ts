import fc from 'fast-check';
import { Affinity, cacheBlocks } from '../../../src/pool/affinity.js';
import { BLOCK, conversationText, prefixKey } from '../../../src/pool/prefix.js';

const text = (letter: string, blocks: number) => letter.repeat(blocks * BLOCK);
const idle = (...ids: string[]) => ids.map((id) => ({ id, leased: 0 }));

test('two texts have as many leading hashes in common as leading blocks', () => {
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

test("a conversation's next turn begins with the one before and its reply", () => {
  const messages = [{ role: 'user', content: text('q', 2) }];
  const next = [
    ...messages,
    { role: 'assistant', content: text('r', 2) },
    { role: 'user', content: 'go on' },
  ];
  const before = prefixKey(conversationText({ messages }, text('r', 2)));
  expect(prefixKey(conversationText({ messages: next })).slice(0, before.length)).toEqual(before);
});

test('raw prompts and tools count too', () => {
  expect(conversationText({ prompt: 'p' }, 'r')).toBe('pr');
  const tools = [{ type: 'function', function: { name: 'f' } }];
  expect(conversationText({ messages: [], tools })).toContain('"name":"f"');
});

test('a key has no more blocks than are asked for: a longer prompt would push its own beginning out of a worker’s', () => {
  const long = text('a', 50);
  expect(prefixKey(long, 8)).toEqual(prefixKey(long).slice(0, 8));
  const affinity = new Affinity(8);
  affinity.note('w', prefixKey(long, 8));
  expect(affinity.expected('w', prefixKey(long, 8))).toBe(8 * BLOCK);
});

describe('the worker for a request', () => {
  test('is the one that holds its prefix', () => {
    const affinity = new Affinity(100);
    affinity.note('b', prefixKey(text('x', 4)));
    const key = prefixKey(text('x', 5));
    expect(affinity.choose(idle('a', 'b', 'c'), key)?.id).toBe('b');
    expect([affinity.expected('b', key), affinity.expected('a', key)]).toEqual([4 * BLOCK, 0]);
  });

  test('is another when its neighbours would lose more than it saves', () => {
    const affinity = new Affinity(100);
    affinity.note('b', prefixKey(text('x', 4)));
    const workers = [
      { id: 'a', leased: 0 },
      { id: 'b', leased: 3 },
    ];
    expect(affinity.choose(workers, prefixKey(text('x', 5)))?.id).toBe('a');
  });

  test('without a prefix is the least busy, then the one unused for longest', () => {
    const affinity = new Affinity(100);
    const none = prefixKey('short');
    expect(affinity.choose([{ id: 'a', leased: 1 }, ...idle('b')], none)?.id).toBe('b');
    for (const id of ['a', 'b', 'c', 'a']) affinity.note(id, none);
    expect(affinity.choose(idle('a', 'b', 'c'), none)?.id).toBe('b');
  });

  test('is none where there is none', () => {
    expect(new Affinity(1).choose([], [])).toBeUndefined();
  });
});

test('a worker that is gone holds nothing', () => {
  const affinity = new Affinity(100);
  affinity.note('a', prefixKey(text('x', 4)));
  affinity.forget('a');
  expect(affinity.expected('a', prefixKey(text('x', 4)))).toBe(0);
});

test('only so much is remembered, the latest', () => {
  const affinity = new Affinity(4);
  affinity.note('a', prefixKey(text('x', 4)));
  affinity.note('a', prefixKey(text('y', 2)));
  expect(affinity.expected('a', prefixKey(text('y', 2)))).toBe(2 * BLOCK);
  expect(affinity.expected('a', prefixKey(text('x', 4)))).toBe(0);
});

test('as much is remembered as the caches hold, and no more than 65,536 blocks', () => {
  expect(cacheBlocks(2, 4096, false)).toBe(256);
  expect(cacheBlocks(2, 4096, true)).toBe(1024);
  expect(cacheBlocks(64, 131_072, true)).toBe(65_536);
});
