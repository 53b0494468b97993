import { parseGguf, readGguf, GgufError } from '../../../src/install/models/gguf.js';
import { modelFacts } from '../../../src/doctor/model-facts.js';
import { BYTES_PER_TOKEN, MODEL } from './fakes.js';
import { gguf, text, u32, u64, type Entry } from './gguf-bytes.js';

const factsOf = (entries: readonly Entry[]) => modelFacts(parseGguf(gguf(entries))!);
const without = (...keys: string[]) => MODEL.filter(([key]) => !keys.includes(key));

describe('what a header says', () => {
  it('reads what the checks want to know', () => {
    expect(factsOf(MODEL)).toEqual({
      architecture: 'llama',
      name: 'Tiny',
      trainedContext: 2048,
      chatTemplate: true,
      bytesPerToken: BYTES_PER_TOKEN,
    });
  });

  it('reads past fields of every type and long lists', () => {
    const noise: Entry[] = [
      ['a', 'u8', 1],
      ['b', 'i32', -1],
      ['c', 'f32', 0.5],
      ['d', 'bool', true],
      ['e', 'f64', 0.5],
      ['f', 'u64', 7],
      ['g', 'strings', Array.from({ length: 1000 }, (_, index) => `token ${index}`)],
      ['h', 'u32s', Array.from({ length: 10_000 }, () => 1)],
      ['i', 'raw', Buffer.concat([u32(9), u64(1), u32(4), u64(1), u32(5)])],
    ];
    expect(factsOf([...noise, ...MODEL]).bytesPerToken).toBe(BYTES_PER_TOKEN);
  });

  it('takes a head count for each layer, and key and value lengths of their own', () => {
    const entries: Entry[] = [
      ...without('llama.attention.head_count_kv'),
      ['llama.attention.head_count_kv', 'u32s', [2, 0, 1, 0]],
      ['llama.attention.key_length', 'u32', 16],
      ['llama.attention.value_length', 'u32', 4],
    ];
    expect(factsOf(entries).bytesPerToken).toBe(3 * 20 * 2);
  });

  it('takes as many cached heads as heads where the header names none', () => {
    expect(factsOf(without('llama.attention.head_count_kv')).bytesPerToken).toBe(2 * BYTES_PER_TOKEN);
  });

  it('knows when it knows nothing', () => {
    expect(factsOf([])).toEqual({
      architecture: undefined,
      name: undefined,
      trainedContext: undefined,
      chatTemplate: false,
      bytesPerToken: undefined,
    });
  });

  it.each([['llama.context_length'], ['llama.block_count']])(
    'does not believe a %s that is no count',
    (key) => {
      const facts = factsOf([...without(key), [key, 'string', 'many']]);
      expect([facts.trainedContext, facts.bytesPerToken]).toContain(undefined);
    },
  );

  it('tells how long the file must be at least', () => {
    const header = gguf([], { tensors: [64, 4096, 128] });
    expect(parseGguf(header)!.tensorsEnd).toBe(Math.ceil(header.length / 32) * 32 + 4096 + 1);
    const aligned = gguf([['general.alignment', 'u32', 1024]], { tensors: [0] });
    expect(parseGguf(aligned)!.tensorsEnd).toBe(1024 + 1);
  });
});

describe('a file that is damaged or hostile', () => {
  const HUGE = 2n ** 60n;
  const long = 2n ** 47n;
  const nested = (depth: number): Buffer =>
    depth === 0 ? Buffer.concat([u32(4), u64(0)]) : Buffer.concat([u32(9), u64(1), nested(depth - 1)]);

  it.each<[string, Buffer, RegExp]>([
    ['another magic', Buffer.from('PK\u0003\u0004 and so on'), /not a GGUF file/],
    ['nothing in it', Buffer.alloc(0), /not a GGUF file/],
    ['an unknown version', gguf([], { version: 9 }), /version 9/],
    ['the other byte order', gguf([], { version: 0x03000000 }), /version/],
    ['too many fields', gguf([], { fieldCount: 100_000 }), /claims 100000 fields/],
    ['too many tensors', gguf([], { tensorCount: 10_000_000 }), /claims 10000000 tensors/],
    ['a count beyond all files', gguf([], { fieldCount: HUGE }), /damaged/],
    ['a text of endless length', Buffer.concat([gguf([], { fieldCount: 1 }), u64(HUGE)]), /damaged/],
    ['an unknown type', Buffer.concat([gguf([], { fieldCount: 1 }), text('k'), u32(99)]), /no value type 99/],
    ['a list of an unknown type', gguf([['k', 'raw', Buffer.concat([u32(99), u64(1)])]]), /no value type 99/],
    ['lists in lists in lists', gguf([['k', 'raw', nested(1000)]]), /nested too deep/],
    [
      'a tensor of many dimensions',
      Buffer.concat([gguf([], { tensorCount: 1 }), text('t'), u32(1e6)]),
      /dimensions/,
    ],
    ['an end in the middle', gguf(MODEL).subarray(0, 100), /ends in the middle/],
    [
      'a list longer than the file',
      gguf([['k', 'raw', Buffer.concat([u32(4), u64(long)])]]),
      /ends in the middle/,
    ],
    ['texts without end', gguf([['k', 'raw', Buffer.concat([u32(8), u64(long)])]]), /ends in the middle/],
    ['lists without end', gguf([['k', 'raw', Buffer.concat([u32(9), u64(long)])]]), /ends in the middle/],
  ])('with %s is told as such', async (_what, file, message) => {
    const read = readGguf(async (bytes) => file.subarray(0, bytes), file.length);
    await expect(read).rejects.toThrow(GgufError);
    await expect(read).rejects.toThrow(message);
  });

  it('is never read beyond 64 MiB', async () => {
    const asked: number[] = [];
    const head = gguf([['k', 'raw', Buffer.concat([u32(4), u64(2n ** 40n)])]]);
    const zeros = Buffer.alloc(2 ** 26);
    head.copy(zeros);
    const read = readGguf(async (bytes) => {
      asked.push(bytes);
      return zeros.subarray(0, bytes);
    }, 2 ** 41);
    await expect(read).rejects.toThrow('more than 64 MiB');
    expect(Math.max(...asked)).toBe(2 ** 26);
  });

  it('is read further only where its header is longer', async () => {
    const asked: number[] = [];
    const file = gguf([['k', 'strings', Array.from({ length: 30_000 }, () => 'twelve bytes')], ...MODEL]);
    const header = await readGguf(async (bytes) => {
      asked.push(bytes);
      return file.subarray(0, bytes);
    }, file.length);
    expect(header.fields.get('general.name')).toBe('Tiny');
    expect(asked).toEqual([2 ** 18, 2 ** 22]);
  });
});
