import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAKE } from './pool.js';

const GIB_IN_MIB = 1024;

/** What llama.cpp 0.5.0 logs with \`-ngl 99\`, as captured; the device is the first of those that it may use. */
const ON_GPU = `0.00.337.997 I load_tensors: offloaded 5/5 layers to GPU
0.00.340.852 I load_tensors:   CPU_Mapped model buffer size =     0.62 MiB
0.00.340.859 I load_tensors:        CUDA0 model buffer size =     2.99 MiB
0.00.361.156 I llama_kv_cache:      CUDA0 KV buffer size =     5.00 MiB
0.00.448.684 I sched_reserve:      CUDA0 compute buffer size =     4.17 MiB
`;

/** The same without a device. */
const ON_CPU = `warning: no usable GPU found, --gpu-layers option will be ignored
0.00.125.715 I print_info: n_layer               = 4
0.00.399.712 I load_tensors:   CPU_Mapped model buffer size =     2.99 MiB
0.00.400.542 I llama_kv_cache:        CPU KV buffer size =     5.00 MiB
0.00.436.541 I sched_reserve:        CPU compute buffer size =     4.79 MiB
`;

const OUT_OF_MEMORY = `0.00.613.616 I llama_context:  CUDA_Host  output buffer size =     0.01 MiB
0.00.743.841 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 998768640
0.00.744.098 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
0.00.750.472 E srv  llama_server: exiting due to model loading error
`;

/** A llama-cli for fake GPUs, which come and go and fill up. It keeps everything in a folder. */
export class FakeGpus {
  readonly binary: string;
  readonly #folder: string;

  /** @param count of GPUs; LLM_GPUS names them from 0 */
  constructor(folder: string, count: number) {
    this.#folder = folder;
    this.binary = join(folder, 'llama-cli');
    // CUDA hides the GPUs that CUDA_VISIBLE_DEVICES does not name, and numbers the others from 0.
    writeFileSync(
      this.binary,
      `#!/bin/sh
cd '${folder}'
for gpu in $(echo "\${CUDA_VISIBLE_DEVICES-$(cat all)}" | tr , ' '); do
  [ -e "gpu-$gpu" ] && visible="$visible $gpu"
done
if [ "$1" = --list-devices ]; then
  echo listed >> asked
  number=0
  for gpu in $visible; do echo "  CUDA$number: $(cat "gpu-$gpu")"; number=$((number + 1)); done
  exit
fi
if [ -e full ] && [ -n "$visible" ]; then cat full >&2; exit 1; fi
if [ -n "$visible" ]; then cat on-gpu >&2; else cat on-cpu >&2; fi
exec '${process.execPath}' '${FAKE}' "$@"
`,
      { mode: 0o755 },
    );
    const ids = Array.from({ length: count }, (_, id) => String(id));
    this.#write('all', ids.join(','));
    this.#write('on-gpu', ON_GPU);
    this.#write('on-cpu', ON_CPU);
    for (const id of ids) this.plugIn(id);
  }

  plugIn(id: string): void {
    const total = 8 * GIB_IN_MIB;
    this.#write(`gpu-${id}`, `NVIDIA fake ${id} (${total} MiB, ${total - 100} MiB free)`);
  }

  pullOut(id: string): void {
    rmSync(join(this.#folder, `gpu-${id}`));
  }

  /** From now on no model fits, until `free`. */
  fill(): void {
    this.#write('full', OUT_OF_MEMORY);
  }

  free(): void {
    rmSync(join(this.#folder, 'full'));
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.#folder, name), text);
  }
}
