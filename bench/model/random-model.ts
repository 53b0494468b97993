import type { GgufTensor, GgufValue } from './gguf-writer.js';
import { bytesOf, randomHalves } from './random-weights.js';
import { makeVocabulary, TOKEN_IDS, type Vocabulary } from './vocabulary.js';

/** A llama with random weights: it says nonsense at the cost of a model of its size. */
export interface RandomModel {
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

function architecture(shape: Shape): Record<string, GgufValue> {
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

/** What stands before and after the layers. */
function edgeTensors({ width, vocabulary: size }: Shape, { firstWord }: Vocabulary): GgufTensor[] {
  const output = matrix('output.weight', width, size);
  return [
    matrix('token_embd.weight', width, size),
    norm('output_norm.weight', width),
    { ...output, data: () => withoutRows(output.data(), firstWord, width) },
  ];
}

/** Rows of zeros are never the likeliest token, so that replies are words alone and valid UTF-8. */
function withoutRows(weights: Uint8Array, rows: number, width: number): Uint8Array {
  return weights.fill(0, 0, rows * width * Uint16Array.BYTES_PER_ELEMENT);
}

function layerTensors({ layers, width, hidden }: Shape): GgufTensor[] {
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
  // Even numbers of this limit keep the size of what passes through.
  const limit = Math.sqrt(3 / inputs);
  const data = () => bytesOf(randomHalves(inputs * outputs, limit, seedOf(name)));
  return { name, type: 'f16', shape: [inputs, outputs], data };
}

function norm(name: string, width: number): GgufTensor {
  return { name, type: 'f32', shape: [width], data: () => bytesOf(new Float32Array(width).fill(1)) };
}

/** Each tensor has numbers of its own. */
const seedOf = (name: string): number => [...name].reduce((seed, c) => seed * 31 + c.charCodeAt(0), 7) >>> 0;
