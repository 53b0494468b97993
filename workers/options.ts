/** What a worker is started with. Plain values: this folder never reads the environment or the configuration. */
export interface WorkerOptions {
  readonly binary: { readonly path: string; readonly kind: 'llama-cli' | 'llama-server' };
  readonly modelPath: string;
  /** Sequences the child decodes together. */
  readonly slots: number;
  /** Context per slot, tokens. */
  readonly ctxSize: number;
  readonly threads?: number | undefined;
  /** Layers on the GPU; undefined leaves it to llama.cpp. */
  readonly gpuLayers?: number | undefined;
  /** Id of the one GPU this worker may see. */
  readonly gpu?: string | undefined;
  /** llama.cpp's prompt cache in main memory, MiB; 0 is off. */
  readonly cacheRamMb: number;
  readonly extraArgs: readonly string[];
  readonly timeouts: WorkerTimeouts;
}

/** Longest times without progress, milliseconds. */
export interface WorkerTimeouts {
  /** While the model loads: any log line is progress. */
  readonly startMs: number;
  /** Until the first token: each prefill batch is progress. */
  readonly firstTokenMs: number;
  /** Between tokens. */
  readonly tokenMs: number;
}

/** Where a child listens. */
export type Endpoint = { readonly port: number } | { readonly socketPath: string; readonly apiKey: string };

/** Small batches keep one long prefill from freezing the other slots and make cancelling it quick. Tokens. */
const BATCH = 128;

/** A small batch wastes a GPU, which takes 512 tokens in the time of 128. Tokens. */
const GPU_BATCH = 512;

/** The child's arguments. For a llama-server, `listen` is the socket it is told to use. */
export function buildArgs(options: WorkerOptions, listen: Endpoint | undefined): string[] {
  const usual = (options.gpuLayers ?? 0) > 0 || options.gpu !== undefined ? GPU_BATCH : BATCH;
  // Each slot decodes a token of the batch: llama.cpp aborts when there are more slots than that.
  const batch = String(Math.max(usual, options.slots));
  const args = [
    ['-m', options.modelPath],
    ['-np', String(options.slots)],
    // llama.cpp's -c is the sum over all slots.
    ['-c', String(options.ctxSize * options.slots)],
    ['-b', batch, '-ub', batch],
    ['--cache-ram', String(options.cacheRamMb)],
    // The level at which the address is logged.
    ['-lv', '3'],
    ['--offline'],
  ];
  if (options.threads !== undefined) args.push(['-t', String(options.threads)]);
  if (options.gpuLayers !== undefined) args.push(['-ngl', String(options.gpuLayers)]);
  if (options.binary.kind === 'llama-cli') args.push(['--simple-io']);
  if (listen && 'socketPath' in listen) args.push(['--host', listen.socketPath, '--no-ui']);
  return [...args.flat(), ...options.extraArgs];
}

/** Names a child may inherit: what the loader and the GPU runtimes need, nothing that holds a secret. */
const INHERITED =
  /^(PATH|HOME|LANG|LC_ALL|TMPDIR|LD_LIBRARY_PATH|DYLD_\w+|CUDA_\w+|NVIDIA_\w+|GGML_\w+|VK_\w+|HIP_\w+|HSA_\w+|ROCR_\w+|OMP_\w+)$/;

/** The child's whole environment: no key of ours, no HF_TOKEN, no stray LLAMA_ARG_ that would change it silently. */
export function buildEnv(
  parent: Readonly<Record<string, string | undefined>>,
  options: WorkerOptions,
  listen: Endpoint | undefined,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(parent)) {
    if (value !== undefined && INHERITED.test(name)) env[name] = value;
  }
  if (options.gpu !== undefined) {
    env.CUDA_VISIBLE_DEVICES = options.gpu;
    env.HIP_VISIBLE_DEVICES = options.gpu;
    env.GGML_VK_VISIBLE_DEVICES = options.gpu;
  }
  // By environment, because a command line can be read by everybody on the machine.
  if (listen && 'apiKey' in listen) env.LLAMA_API_KEY = listen.apiKey;
  return env;
}
