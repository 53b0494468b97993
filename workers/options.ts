import type { ModelTask } from '../src/contract.js';

/** The options of a child. Plain values, because this folder never reads the environment or the configuration. */
export interface ChildOptions {
  readonly binary: { readonly path: string; readonly kind: 'llama-cli' | 'llama-server' };
  readonly modelPath: string;
  /** Default: `chat`. The others need a llama-server. */
  readonly task?: ModelTask | undefined;
  /** How the vectors of a text's tokens become one, if its file does not say. */
  readonly pooling?: 'mean' | undefined;
  /** A text may be evaluated in several batches. Default: true. */
  readonly splits?: boolean | undefined;
  /** Number of sequences that the child decodes at once. */
  readonly slots: number;
  /** Context per slot, tokens. */
  readonly ctxSize: number;
  readonly threads?: number | undefined;
  /** Layers on the GPU; undefined leaves it to llama.cpp. */
  readonly gpuLayers?: number | undefined;
  /** Id of the only GPU that this worker may use. */
  readonly gpu?: string | undefined;
  /** Size of llama.cpp's prompt cache in main memory, MiB; 0 disables it. */
  readonly cacheRamMb: number;
  /** Path of a projector, which gives the model images. */
  readonly mmproj?: string | undefined;
  /** Adapters of the model, with how strongly each changes it. */
  readonly lora?: readonly { readonly path: string; readonly scale: number }[] | undefined;
  /** Folder in which a llama-server saves its slots; undefined disables that. */
  readonly slotFolder?: string | undefined;
  readonly extraArgs: readonly string[];
}

/** The address that a child listens on. */
export type Endpoint = { readonly port: number } | { readonly socketPath: string; readonly apiKey: string };

/** Tokens per batch. Small batches keep a long prefill from stalling other slots, and it can be cancelled quickly. */
const BATCH = 128;

/** Tokens per batch on a GPU, which processes 512 tokens in the time of 128. */
const GPU_BATCH = 512;

/** Some models read an image as a whole, and llama.cpp aborts when it does not fit into a batch. */
const IMAGE_BATCH = 2048;

/** What an operator says about the projector comes before what was found beside the model. */
const PROJECTOR_ARG = /^(-mm|--mmproj|-mmu|--mmproj-url|--no-mmproj|--no-mmproj-auto)$/;

/** Tokens per batch of a worker's arguments. */
export function batchOf({ slots, splits = true, ctxSize, ...options }: BatchOptions): number {
  if (!splits) return Math.max(ctxSize, slots);
  const usual = (options.gpuLayers ?? 0) > 0 || options.gpu !== undefined ? GPU_BATCH : BATCH;
  // Each slot decodes a token of the batch: llama.cpp aborts when there are more slots than that.
  return Math.max(options.mmproj === undefined ? usual : IMAGE_BATCH, slots);
}

type BatchOptions = Pick<ChildOptions, 'slots' | 'ctxSize' | 'splits' | 'gpuLayers' | 'gpu' | 'mmproj'>;

/** Builds the child's arguments. For a llama-server, `listen` is its socket. */
export function buildArgs(options: ChildOptions, listen: Endpoint | undefined): string[] {
  const batch = String(batchOf(options));
  const args = [
    ['-m', options.modelPath],
    ['-np', String(options.slots)],
    // llama.cpp's -c is the sum over all slots.
    ['-c', String(options.ctxSize * options.slots)],
    ['-b', batch, '-ub', batch],
    ['--cache-ram', String(options.cacheRamMb)],
    // At this level llama.cpp logs its address and what it loads to where.
    ['-lv', '4'],
    ['--offline'],
  ];
  if (options.threads !== undefined) args.push(['-t', String(options.threads)]);
  if (options.gpuLayers !== undefined) args.push(['-ngl', String(options.gpuLayers)]);
  if (options.mmproj !== undefined && !options.extraArgs.some((arg) => PROJECTOR_ARG.test(arg)))
    args.push(['--mmproj', options.mmproj]);
  for (const { path, scale } of options.lora ?? [])
    args.push(scale === 1 ? ['--lora', quoted(path)] : ['--lora-scaled', quoted(`${path}:${scale}`)]);
  if (options.task === 'embed') args.push(['--embeddings']);
  if (options.task === 'rerank') args.push(['--rerank']);
  // With a cache for each slot, llama.cpp divides a batch by the shortest of its texts, and pools each piece alone.
  if (options.splits === false) args.push(['--kv-unified']);
  if (options.pooling !== undefined) args.push(['--pooling', options.pooling]);
  if (options.binary.kind === 'llama-cli') args.push(['--simple-io']);
  if (listen && 'socketPath' in listen) args.push(['--host', listen.socketPath, '--no-ui']);
  if (options.slotFolder !== undefined) args.push(['--slot-save-path', options.slotFolder]);
  return [...args.flat(), ...options.extraArgs];
}

/** As a field of a comma-separated list, which llama.cpp takes. */
function quoted(text: string): string {
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The variables that a child inherits: those that the loader and the GPU runtimes need, and no secrets. */
const INHERITED =
  /^(PATH|HOME|LANG|LC_ALL|TMPDIR|LD_LIBRARY_PATH|DYLD_\w+|CUDA_\w+|NVIDIA_\w+|GGML_\w+|VK_\w+|HIP_\w+|HSA_\w+|ROCR_\w+|OMP_\w+)$/;

/**
 * The variables that a llama.cpp program gets from the parent's.
 *
 * @param gpus ids of the only GPUs that it may use; none leaves it to llama.cpp.
 */
export function runtimeEnv(
  parent: Readonly<Record<string, string | undefined>>,
  gpus: readonly string[],
): Record<string, string> {
  // Without it CUDA numbers the fastest GPU first, which is not the order of nvidia-smi.
  const env: Record<string, string> = { CUDA_DEVICE_ORDER: 'PCI_BUS_ID' };
  for (const [name, value] of Object.entries(parent)) {
    if (value !== undefined && INHERITED.test(name)) env[name] = value;
  }
  if (gpus.length === 0) return env;
  const visible = gpus.join(',');
  return {
    ...env,
    CUDA_VISIBLE_DEVICES: visible,
    HIP_VISIBLE_DEVICES: visible,
    GGML_VK_VISIBLE_DEVICES: visible,
  };
}

/** Builds the child's environment, without LMServ's keys, HF_TOKEN, and LLAMA_ARG_ variables that would change it silently. */
export function buildEnv(
  parent: Readonly<Record<string, string | undefined>>,
  options: ChildOptions,
  listen: Endpoint | undefined,
): Record<string, string> {
  const env = runtimeEnv(parent, options.gpu === undefined ? [] : [options.gpu]);
  // Passed in the environment, because everybody on the machine can read a command line.
  if (listen && 'apiKey' in listen) env.LLAMA_API_KEY = listen.apiKey;
  return env;
}
