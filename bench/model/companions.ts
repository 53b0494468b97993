import { writeGguf, type GgufTensor, type GgufValue } from './gguf-writer.js';
import { randomHalves } from './random-model.js';

/** Files that go with the demo model: a tiny projector with random weights, and an adapter. */

/** Numbers of a token of the demo model. */
const WIDTH = 160;

const string = (value: string): GgufValue => ({ type: 'string', value });
const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });
const float32 = (value: number): GgufValue => ({ type: 'float32', value });

function tensor(name: string, ...shape: number[]): GgufTensor {
  const count = shape.reduce((product, length) => product * length, 1);
  const data = () => Buffer.from(Float32Array.from(smallNumbers(count, shape[0]!)).buffer);
  return { name, type: 'f32', shape, data };
}

/** Small numbers, the same each time. */
function* smallNumbers(count: number, inputs: number): Generator<number> {
  for (const half of randomHalves(count, 1, count)) yield (half / 65_536 - 0.5) / Math.sqrt(inputs);
}

/** An eye of CLIP's architecture: pictures of 28 by 28 pixels become four tokens. */
const EYE = { width: 32, layers: 2, heads: 2, hidden: 64, patch: 14, image: 28 };

/** Writes a projector as LLaVA has it. */
export async function writeProjector(path: string): Promise<void> {
  const { width, layers, heads, hidden, patch, image } = EYE;
  const settings = {
    'general.architecture': string('clip'),
    'general.type': string('mmproj'),
    'general.file_type': uint32(0),
    'clip.has_vision_encoder': { type: 'bool', value: true },
    'clip.projector_type': string('mlp'),
    'clip.use_gelu': { type: 'bool', value: true },
    'clip.vision.image_size': uint32(image),
    'clip.vision.patch_size': uint32(patch),
    'clip.vision.embedding_length': uint32(width),
    'clip.vision.feed_forward_length': uint32(hidden),
    'clip.vision.block_count': uint32(layers),
    'clip.vision.projection_dim': uint32(WIDTH),
    'clip.vision.attention.head_count': uint32(heads),
    'clip.vision.attention.layer_norm_epsilon': float32(1e-5),
    'clip.vision.image_mean': { type: 'array', of: 'float32', values: [0.5, 0.5, 0.5] },
    'clip.vision.image_std': { type: 'array', of: 'float32', values: [0.5, 0.5, 0.5] },
  } as const satisfies Record<string, GgufValue>;
  const positions = (image / patch) ** 2 + 1;
  await writeGguf(path, settings, [
    tensor('v.class_embd', width),
    tensor('v.patch_embd.weight', patch, patch, 3, width),
    tensor('v.position_embd.weight', width, positions),
    ...pair('v.pre_ln', width),
    ...Array.from({ length: layers }, (_, layer) => `v.blk.${layer}.`).flatMap((prefix) => [
      ...pair(`${prefix}ln1`, width),
      ...pair(`${prefix}ln2`, width),
      ...['attn_q', 'attn_k', 'attn_v', 'attn_out'].flatMap((name) => pair(prefix + name, width, width)),
      ...pair(`${prefix}ffn_up`, width, hidden),
      ...pair(`${prefix}ffn_down`, hidden, width),
    ]),
    ...pair('mm.0', width, WIDTH),
    ...pair('mm.2', WIDTH, WIDTH),
  ]);
}

/** Weights and a bias. */
const pair = (name: string, ...shape: number[]): GgufTensor[] => [
  tensor(`${name}.weight`, ...shape),
  tensor(`${name}.bias`, shape.at(-1)!),
];

/** Writes an adapter of rank 4 for the first layer. */
export async function writeAdapter(path: string, architecture = 'llama'): Promise<void> {
  const settings = {
    'general.architecture': string(architecture),
    'general.type': string('adapter'),
    'adapter.type': string('lora'),
    'adapter.lora.alpha': float32(64),
  };
  await writeGguf(path, settings, [
    tensor('blk.0.attn_v.weight.lora_a', WIDTH, 4),
    tensor('blk.0.attn_v.weight.lora_b', 4, WIDTH),
  ]);
}
