import { Random } from '../../test/harness/random.js';
import type { GgufTensor, GgufValue } from './gguf-writer.js';

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** A number's half-precision bits. Rounds towards zero; what is too small for a normal half becomes zero. */
export function toHalf(value: number): number {
  single[0] = value;
  const all = bits[0]!;
  const sign = (all >>> 16) & 0x8000;
  const exponent = ((all >>> 23) & 0xff) - 112;
  if (exponent <= 0) return sign;
  if (exponent >= 31) return sign | 0x7c00;
  return sign | (exponent << 10) | ((all >>> 13) & 0x3ff);
}

/** Half-precision numbers, evenly distributed between -limit and limit; the same for the same seed. */
export function randomHalves(count: number, limit: number, seed: number): Uint16Array {
  const random = new Random(seed);
  return Uint16Array.from({ length: count }, () => toHalf((2 * random.next() - 1) * limit));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array | Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** llama.cpp's numbers for the types of tokens. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

/** How SentencePiece writes a space. */
const SPACE = '\u2581';

const CONSONANTS = [...'bcdfghjklmnprstvwxyz'];
const VOWELS = [...'aeiou'];
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz', SPACE];

interface Vocabulary {
  readonly tokens: readonly string[];
  /** Pieces with higher scores are merged first. */
  readonly scores: readonly number[];
  readonly types: readonly number[];
  /** Tokens before this one are not words but control tokens and bytes. */
  readonly firstWord: number;
}

const SPECIAL = [
  { token: '<unk>', type: UNKNOWN },
  { token: '<s>', type: CONTROL },
  { token: '</s>', type: CONTROL },
];
const BYTES = Array.from({ length: 256 }, (_, byte) => ({
  token: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  type: BYTE,
}));

const TOKEN_IDS = { unknown: 0, begin: 1, end: 2 } as const;

/** Pieces from short to long, so that all parts of a longer one come before it. */
function* pieces(): Generator<string> {
  const syllables = CONSONANTS.flatMap((consonant) => VOWELS.map((vowel) => consonant + vowel));
  const pairs = syllables.flatMap((first) => syllables.map((second) => first + second));
  yield* LETTERS;
  yield* syllables;
  yield* syllables.map((syllable) => SPACE + syllable);
  yield* pairs;
  yield* pairs.map((pair) => SPACE + pair);
  for (const pair of pairs) yield* syllables.map((syllable) => SPACE + pair + syllable);
}

/** @param size tokens in all, bytes and control tokens included */
export function makeVocabulary(size: number): Vocabulary {
  const fixed = [...SPECIAL, ...BYTES];
  const entries = [...fixed];
  for (const token of pieces()) {
    if (entries.length === size) break;
    entries.push({ token, type: NORMAL });
  }
  return {
    tokens: entries.map(({ token }) => token),
    scores: entries.map(({ type }, id) => (type === NORMAL ? -id : 0)),
    types: entries.map(({ type }) => type),
    firstWord: fixed.length,
  };
}

/** A llama with random weights: it generates nonsense at the cost of a model of its size. */
interface RandomModel {
  readonly settings: Readonly<Record<string, GgufValue>>;
  readonly tensors: readonly GgufTensor[];
  readonly parameters: number;
}

export interface Shape {
  readonly vocabulary: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly hidden: number;
  readonly context: number;
}

const TEMPLATE =
  "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}" +
  '{% if add_generation_prompt %}assistant:{% endif %}';

const string = (value: string): GgufValue => ({ type: 'string', value });
const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });

export function randomModel(shape: Shape): RandomModel {
  const vocabulary = makeVocabulary(shape.vocabulary);
  const tensors = [...edgeTensors(shape, vocabulary), ...layerTensors(shape)];
  return {
    settings: { ...architecture(shape), ...tokenizer(vocabulary) },
    tensors,
    parameters: tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((a, b) => a * b), 0),
  };
}

export function architecture(shape: Shape): Record<string, GgufValue> {
  return {
    'general.architecture': string('llama'),
    'general.name': string('LMServ random'),
    'llama.context_length': uint32(shape.context),
    'llama.embedding_length': uint32(shape.width),
    'llama.block_count': uint32(shape.layers),
    'llama.feed_forward_length': uint32(shape.hidden),
    'llama.attention.head_count': uint32(shape.heads),
    'llama.attention.head_count_kv': uint32(shape.heads),
    'llama.rope.dimension_count': uint32(shape.width / shape.heads),
    'llama.attention.layer_norm_rms_epsilon': { type: 'float32', value: 1e-5 },
    'llama.vocab_size': uint32(shape.vocabulary),
  };
}

function tokenizer({ tokens, scores, types }: Vocabulary): Record<string, GgufValue> {
  return {
    'tokenizer.ggml.model': string('llama'),
    'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: tokens },
    'tokenizer.ggml.scores': { type: 'array', of: 'float32', values: scores },
    'tokenizer.ggml.token_type': { type: 'array', of: 'int32', values: types },
    'tokenizer.ggml.unknown_token_id': uint32(TOKEN_IDS.unknown),
    'tokenizer.ggml.bos_token_id': uint32(TOKEN_IDS.begin),
    'tokenizer.ggml.eos_token_id': uint32(TOKEN_IDS.end),
    // Without it the template's first letter would get a space in front, which grammars do not expect.
    'tokenizer.ggml.add_space_prefix': { type: 'bool', value: false },
    'tokenizer.chat_template': string(TEMPLATE),
  };
}

/** The tensors before and after the layers. */
function edgeTensors({ width, vocabulary: size }: Shape, { firstWord }: Vocabulary): GgufTensor[] {
  const output = matrix('output.weight', width, size);
  return [
    matrix('token_embd.weight', width, size),
    norm('output_norm.weight', width),
    { ...output, data: () => withoutRows(output.data(), firstWord, width) },
  ];
}

/** Tokens with zero weights are never the likeliest, so that replies are only words and valid UTF-8. */
function withoutRows(weights: Uint8Array, rows: number, width: number): Uint8Array {
  return weights.fill(0, 0, rows * width * Uint16Array.BYTES_PER_ELEMENT);
}

export function layerTensors({ layers, width, hidden }: Shape): GgufTensor[] {
  return Array.from({ length: layers }, (_, layer) => `blk.${layer}.`).flatMap((prefix) => [
    norm(`${prefix}attn_norm.weight`, width),
    ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) =>
      matrix(`${prefix}${name}.weight`, width, width),
    ),
    norm(`${prefix}ffn_norm.weight`, width),
    matrix(`${prefix}ffn_gate.weight`, width, hidden),
    matrix(`${prefix}ffn_up.weight`, width, hidden),
    matrix(`${prefix}ffn_down.weight`, hidden, width),
  ]);
}

function matrix(name: string, inputs: number, outputs: number): GgufTensor {
  // Evenly distributed numbers within this limit keep the size of what passes through.
  const limit = Math.sqrt(3 / inputs);
  const data = () => bytesOf(randomHalves(inputs * outputs, limit, seedOf(name)));
  return { name, type: 'f16', shape: [inputs, outputs], data };
}

export function norm(name: string, width: number): GgufTensor {
  return { name, type: 'f32', shape: [width], data: () => bytesOf(new Float32Array(width).fill(1)) };
}

/** Each tensor has different numbers. */
const seedOf = (name: string): number => [...name].reduce((seed, c) => seed * 31 + c.charCodeAt(0), 7) >>> 0;
