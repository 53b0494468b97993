import { writeGguf, type GgufTensor, type GgufValue } from '../../bench/model/gguf-writer.js';
import { norm, randomHalves } from '../../bench/model/random-model.js';
import { Vocabulary } from './vocabulary-model.js';

/** Tiny models of BERT's architecture, of random weights, with the vocabulary of BGE. They cannot write. */

const SHAPE = { width: 32, layers: 2, heads: 2, hidden: 64, context: 128 };

/** llama.cpp's numbers for what becomes of the tokens' vectors. */
const POOLING = { embed: 2, rerank: 4 } as const;

/** Writes a model that says in its file what it is for: making embeddings, or rating a document. */
export async function writeBert(path: string, task: keyof typeof POOLING): Promise<void> {
  const { width, layers, heads, hidden, context } = SHAPE;
  const vocabulary = new Vocabulary('bert-bge');
  const settings: Record<string, GgufValue> = {
    'general.architecture': { type: 'string', value: 'bert' },
    'bert.context_length': uint32(context),
    'bert.embedding_length': uint32(width),
    'bert.block_count': uint32(layers),
    'bert.feed_forward_length': uint32(hidden),
    'bert.attention.head_count': uint32(heads),
    'bert.attention.layer_norm_epsilon': { type: 'float32', value: 1e-12 },
    'bert.attention.causal': { type: 'bool', value: false },
    'bert.pooling_type': uint32(POOLING[task]),
    'tokenizer.ggml.token_type_count': uint32(2),
    ...vocabulary.settings,
  };
  const head = task === 'rerank' ? [matrix('cls.output.weight', width, 1)] : [];
  await writeGguf(path, settings, [
    matrix('token_embd.weight', width, vocabulary.tokens.length),
    // They are added to what llama.cpp has converted to this type.
    floats('token_types.weight', width, 2),
    floats('position_embd.weight', width, context),
    ...normWithBias('token_embd_norm'),
    ...Array.from({ length: layers }, (_, layer) => layerTensors(`blk.${layer}.`, width, hidden)).flat(),
    ...head,
  ]);
}

const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });

function layerTensors(prefix: string, width: number, hidden: number): GgufTensor[] {
  return [
    ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) =>
      matrix(`${prefix}${name}.weight`, width, width),
    ),
    ...normWithBias(`${prefix}attn_output_norm`),
    matrix(`${prefix}ffn_up.weight`, width, hidden),
    matrix(`${prefix}ffn_down.weight`, hidden, width),
    ...normWithBias(`${prefix}layer_output_norm`),
  ];
}

function normWithBias(name: string): GgufTensor[] {
  const weight = norm(`${name}.weight`, SHAPE.width);
  const data = () => new Uint8Array(4 * SHAPE.width);
  return [weight, { name: `${name}.bias`, type: 'f32', shape: [SHAPE.width], data }];
}

function floats(name: string, inputs: number, outputs: number): GgufTensor {
  const numbers = Float32Array.from({ length: inputs * outputs }, (_, i) => Math.sin(i));
  return { name, type: 'f32', shape: [inputs, outputs], data: () => new Uint8Array(numbers.buffer) };
}

function matrix(name: string, inputs: number, outputs: number): GgufTensor {
  const seed = [...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) >>> 0;
  const data = () => new Uint8Array(randomHalves(inputs * outputs, Math.sqrt(3 / inputs), seed).buffer);
  return { name, type: 'f16', shape: [inputs, outputs], data };
}
