import { ggufHeader } from '../../../bench/model/gguf-writer.js';
import { makeVocabulary, randomHalves, randomModel, toHalf } from '../../../bench/model/random-model.js';
import { parseGguf } from '../../../src/install/models/gguf.js';

const SHAPE = { vocabulary: 500, width: 64, layers: 2, heads: 4, hidden: 128, context: 512 };

describe('vocabulary', () => {
  const { tokens, scores, types, firstWord } = makeVocabulary(32_000);

  it('has the size asked for and no token twice', () => {
    expect(tokens).toHaveLength(32_000);
    expect(new Set(tokens).size).toBe(32_000);
    expect(scores).toHaveLength(32_000);
    expect(types).toHaveLength(32_000);
  });

  it('can build each word of two shorter tokens, or the tokeniser would never reach it', () => {
    const known = new Set(tokens);
    const long = tokens.slice(firstWord).filter((token) => [...token].length > 1);
    const splits = (token: string) => [...token].map((_, at) => [token.slice(0, at), token.slice(at)]);
    const reachable = (token: string) =>
      splits(token).some((parts) => parts.every((part) => known.has(part)));
    expect(long.filter((token) => !reachable(token))).toEqual([]);
  });
});

describe('half-precision numbers', () => {
  it.each([
    [1, 0x3c00],
    [-2, 0xc000],
    [0.5, 0x3800],
    [65504, 0x7bff],
    [1e6, 0x7c00],
    [0, 0],
    [1e-9, 0],
  ])('%d is %i', (value, bits) => {
    expect(toHalf(value)).toBe(bits);
  });

  it('are the same for the same seed', () => {
    expect(randomHalves(100, 1, 7)).toEqual(randomHalves(100, 1, 7));
    expect(randomHalves(100, 1, 7)).not.toEqual(randomHalves(100, 1, 8));
  });
});

describe('model', () => {
  const { settings, tensors } = randomModel(SHAPE);

  it('has a header that says what it is and where its tensors lie', () => {
    const header = ggufHeader(settings, tensors);
    const read = parseGguf(header)!;
    expect(read.fields.get('general.architecture')).toBe('llama');
    expect(read.fields.get('llama.embedding_length')).toBe(64);
    const bytes = tensors.reduce((sum, tensor) => sum + tensor.data().length, 0);
    expect(read.tensorsEnd).toBe(header.length + bytes);
    expect(header.length % 32).toBe(0);
  });

  it('never says a control token or a byte', () => {
    const output = tensors.find(({ name }) => name === 'output.weight')!.data();
    const { firstWord } = makeVocabulary(SHAPE.vocabulary);
    const row = SHAPE.width * 2;
    expect(output.subarray(0, firstWord * row).every((byte) => byte === 0)).toBe(true);
    expect(output.subarray(firstWord * row).some((byte) => byte !== 0)).toBe(true);
  });
});
