import { parseGguf, readGguf, GgufError } from '../../../src/install/models/gguf.js';
import { MODEL } from './fakes.js';
import { gguf, text, u32, u64, type Entry, type Extras } from './gguf-bytes.js';

const headerOf = (entries: readonly Entry[]) => parseGguf(gguf(entries))!;

describe('a GGUF header', () => {
  it('may contain fields of every type and long lists', () => {
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
    expect(headerOf([...noise, ...MODEL]).fields).toEqual(headerOf(MODEL).fields);
  });

  it('gives the length of the file and how many numbers it holds', () => {
    const header = gguf([], { tensors: [64, 4096, 128] });
    const begin = Math.ceil(header.length / 32) * 32;
    expect(parseGguf(header)).toMatchObject({ tensors: 3, parameters: 3, tensorsEnd: begin + 4096 + 4 });
    const aligned = gguf([['general.alignment', 'u32', 1024]], { tensors: [0] });
    expect(parseGguf(aligned)!.tensorsEnd).toBe(1024 + 4);
  });

  it.each([
    ['Q4_K', 12, [512, 3], 6 * 144],
    ['MXFP4', 39, [64, 1], 2 * 17],
    ['BF16', 30, [3, 5, 7], 105 * 2],
    ['an unknown type, of which one byte must be there', 999, [512], 1],
  ])('counts the bytes of a tensor of %s', (_, type, dimensions, bytes) => {
    const header = gguf([], { tensors: [{ offset: 32, type, dimensions }] });
    expect(parseGguf(header)!.tensorsEnd).toBe(Math.ceil(header.length / 32) * 32 + 32 + bytes);
  });

  it('gives the length of a list of texts', () => {
    const header = gguf([['tokenizer.ggml.tokens', 'strings', ['a', 'b', 'c']]]);
    expect(parseGguf(header)!.fields.get('tokenizer.ggml.tokens')).toBe(3);
  });
});

describe('a damaged or hostile file', () => {
  const HUGE = 2n ** 60n;
  const counts = (extras: Extras) => gguf([], extras);
  const field = (...parts: Buffer[]) => Buffer.concat([counts({ fieldCount: 1 }), ...parts]);
  const list = (type: number, length: number | bigint) =>
    gguf([['k', 'raw', Buffer.concat([u32(type), u64(length)])]]);
  const nested = (depth: number): Buffer =>
    depth === 0 ? Buffer.concat([u32(4), u64(0)]) : Buffer.concat([u32(9), u64(1), nested(depth - 1)]);

  it.each<[string, Buffer, RegExp]>([
    ['another magic', Buffer.from('PK\u0003\u0004 and so on'), /not a GGUF file/],
    ['nothing in it', Buffer.alloc(0), /not a GGUF file/],
    ['an unknown version', counts({ version: 9 }), /version 9/],
    ['the other byte order', counts({ version: 0x03000000 }), /version/],
    ['too many fields', counts({ fieldCount: 100_000 }), /claims 100000 fields/],
    ['too many tensors', counts({ tensorCount: 10_000_000 }), /claims 10000000 tensors/],
    ['an impossible count', counts({ fieldCount: HUGE }), /damaged/],
    ['a text of endless length', field(u64(HUGE)), /damaged/],
    ['an unknown type', field(text('k'), u32(99)), /no value type 99/],
    ['a list of an unknown type', list(99, 1), /no value type 99/],
    ['lists in lists in lists', gguf([['k', 'raw', nested(1000)]]), /nested too deep/],
    [
      'a tensor of many dimensions',
      Buffer.concat([counts({ tensorCount: 1 }), text('t'), u32(1e6)]),
      /dimensions/,
    ],
    ['an end in the middle', gguf(MODEL).subarray(0, 100), /ends in the middle/],
    ['a list longer than the file', list(4, 2n ** 47n), /ends in the middle/],
    ['endless texts', list(8, 2n ** 47n), /ends in the middle/],
    ['endless lists', list(9, 2n ** 47n), /ends in the middle/],
  ])('with %s is reported as such', async (_, file, message) => {
    const read = readGguf(async (bytes) => file.subarray(0, bytes), file.length);
    await expect(read).rejects.toThrow(GgufError);
    await expect(read).rejects.toThrow(message);
  });

  /** Reads a header; `sizes` are the lengths that were requested. */
  function readIn(file: Buffer, length = file.length) {
    const sizes: number[] = [];
    const head = async (bytes: number) => (sizes.push(bytes), file.subarray(0, bytes));
    return { sizes, header: readGguf(head, length) };
  }

  it('is never read beyond 64 MiB', async () => {
    const file = Buffer.alloc(2 ** 26);
    list(4, 2n ** 40n).copy(file);
    const { sizes, header } = readIn(file, 2 ** 41);
    await expect(header).rejects.toThrow('more than 64 MiB');
    expect(Math.max(...sizes)).toBe(2 ** 26);
  });

  it('is read further only if its header is longer', async () => {
    const file = gguf([['k', 'strings', Array.from({ length: 30_000 }, () => 'twelve bytes')], ...MODEL]);
    const { sizes, header } = readIn(file);
    expect((await header).fields.get('general.name')).toBe('Tiny');
    expect(sizes).toEqual([2 ** 18, 2 ** 22]);
  });
});
