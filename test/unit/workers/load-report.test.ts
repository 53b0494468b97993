import { LoadReport } from '../../../workers/load-report.js';
import type { WorkerOptions } from '../../../workers/options.js';

const MIB = 2 ** 20;

/** Of llama.cpp 0.5.0 with `-lv 4`, as captured; the lines that matter and some around them. */
const CPU = `
0.00.112.706 I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   compute    unaccounted |
0.00.112.751 I common_memory_breakdown_print: |   - Host               |                    9 =     2 +       5 +       1                |
0.00.120.345 I print_info: file size   = 2.99 MiB (16.01 BPW)
0.00.125.715 I print_info: n_layer               = 4
0.00.125.716 I print_info: n_layer_all           = 4
0.00.126.872 I load_tensors:   CPU_Mapped model buffer size =     2.99 MiB
0.00.127.486 I llama_context:        CPU  output buffer size =     0.02 MiB
0.00.127.713 I llama_kv_cache:        CPU KV buffer size =     5.00 MiB
0.00.189.832 I llama_kv_cache: size =    5.00 MiB (  1024 cells,   4 layers,  2/2 seqs), K (f16):    2.50 MiB, V (f16):    2.50 MiB
0.00.200.626 I sched_reserve:        CPU compute buffer size =     1.20 MiB`;

/** On lavapipe with \`-ngl 99\`. */
const VULKAN = `
0.00.327.621 I common_memory_breakdown_print: |   - Vulkan0 (llvmpipe (LLVM 15.0.6, 256 bits)) |  2048 = 2048 + (  12 =     2 +       5 +       4) +         -12 |
0.00.334.041 I print_info: n_layer               = 4
0.00.337.268 I load_tensors: offloading output layer to GPU
0.00.337.771 I load_tensors: offloading 3 repeating layers to GPU
0.00.337.997 I load_tensors: offloaded 5/5 layers to GPU
0.00.340.852 I load_tensors:   CPU_Mapped model buffer size =     0.62 MiB
0.00.340.859 I load_tensors:      Vulkan0 model buffer size =     2.99 MiB
0.00.360.654 I llama_context: Vulkan_Host  output buffer size =     0.02 MiB
0.00.361.156 I llama_kv_cache:    Vulkan0 KV buffer size =     5.00 MiB
0.00.448.684 I sched_reserve:    Vulkan0 compute buffer size =     4.17 MiB
0.00.448.685 I sched_reserve: Vulkan_Host compute buffer size =     1.64 MiB`;

/** On lavapipe with \`-ngl 2\`. */
const PARTIAL = `
0.00.569.285 I load_tensors: offloaded 2/5 layers to GPU
0.00.569.322 I load_tensors:   CPU_Mapped model buffer size =     2.40 MiB
0.00.569.343 I load_tensors:      Vulkan0 model buffer size =     1.22 MiB
0.00.582.958 I llama_kv_cache:        CPU KV buffer size =     3.75 MiB
0.00.607.741 I llama_kv_cache:    Vulkan0 KV buffer size =     1.25 MiB`;

/** On lavapipe with a limit of the process's memory. */
const SHORTAGE = `
0.00.613.616 I llama_context: Vulkan_Host  output buffer size =     0.01 MiB
ggml_vulkan: Device memory allocation of size 998768640 failed.
ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory
0.00.743.841 E alloc_tensor_range: failed to allocate Vulkan0 buffer of size 998768640
0.00.744.098 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
0.00.750.472 E srv  llama_server: exiting due to model loading error`;

/** Written after the sources of llama.cpp; not captured. */
const PROJECTOR = `
0.00.100.000 I clip_ctx: CLIP using CUDA1 backend
0.00.100.000 I load_hparams: model size:         812.50 MiB
0.00.100.000 I load_hparams: metadata size:      0.18 MiB
0.00.100.000 I reserve_compute_meta:      CUDA1 compute buffer size =   100.00 MiB`;

function report(log: string): LoadReport {
  const load = new LoadReport();
  for (const line of log.split('\n')) load.add(line);
  return load;
}

const round = (mib: number) => Math.round(mib * MIB);

/** MiB; each line of the log is rounded. */
const bytes = (model: number, mapped: number, context: number, ...compute: number[]) => ({
  ...{ model: round(model), mapped: round(mapped), context: round(context) },
  compute: compute.reduce((sum, mib) => sum + round(mib), 0),
});

test('on the CPU everything is in main memory, the weights mapped', () => {
  const load = report(CPU);
  expect(load.memory(undefined)).toEqual([{ device: 'host', ...bytes(2.99, 2.99, 5, 0.02, 1.2) }]);
});

test('on a GPU the device has the weights, the cache and its share of the compute buffers', () => {
  expect(report(VULKAN).memory(undefined)).toEqual([
    { device: 'host', ...bytes(0.62, 0.62, 0, 0.02, 1.64) },
    { device: 'Vulkan0', ...bytes(2.99, 0, 5, 4.17) },
  ]);
});

test('a device has the number of the only GPU that the worker may use', () => {
  const devices = (gpu: string) =>
    report(VULKAN)
      .memory(gpu)
      .map(({ device }) => device);
  expect(devices('3')).toEqual(['host', 'Vulkan3']);
  expect(devices('GPU-4f2c')).toEqual(['host', 'GPU-4f2c']);
});

test('weights and cache may be split between main memory and a device', () => {
  expect(report(PARTIAL).memory(undefined)).toEqual([
    { device: 'host', ...bytes(2.4, 2.4, 3.75, 0) },
    { device: 'Vulkan0', ...bytes(1.22, 0, 1.25, 0) },
  ]);
});

test("a projector's weights belong to its device", () => {
  expect(report(PROJECTOR).memory(undefined)).toEqual([{ device: 'CUDA1', ...bytes(812.5, 0, 0, 100) }]);
});

test("other kinds of buffers: Metal's, repacked weights, recurrent states, adapters", () => {
  const lines = [
    'load_tensors:  MTL0_Mapped model buffer size =  4165.37 MiB',
    'load_tensors:   CPU_REPACK model buffer size =   100.00 MiB',
    'llama_memory_recurrent:      CUDA0 RS buffer size =    10.00 MiB',
    'llama_adapter_lora_init_impl:      CUDA0 LoRA buffer size =     2.00 MiB',
  ];
  expect(report(lines.map((line) => `0.00.000.001 I ${line}`).join('\n')).memory(undefined)).toEqual([
    { device: 'MTL0', ...bytes(4165.37, 4165.37, 0, 0) },
    { device: 'host', ...bytes(100, 0, 0, 0) },
    { device: 'CUDA0', ...bytes(2, 0, 10, 0) },
  ]);
});

test.each([
  ['as many as requested', VULKAN, { gpuLayers: 5 }, { offloaded: 5, total: 5, lacking: false }],
  ['all that there are', VULKAN, { gpuLayers: 99 }, { offloaded: 5, total: 5, lacking: false }],
  ['fewer than requested', PARTIAL, { gpuLayers: 4 }, { offloaded: 2, total: 5, lacking: true }],
  ['none of the requested ones', CPU, { gpuLayers: 99 }, { offloaded: 0, total: 5, lacking: true }],
  ['none, as requested', CPU, { gpuLayers: 0 }, { offloaded: 0, total: 5, lacking: false }],
  ['none, with nothing requested', CPU, {}, { offloaded: 0, total: 5, lacking: false }],
  ['none, although a GPU is named', CPU, { gpu: '0' }, { offloaded: 0, total: 5, lacking: true }],
  ['some, on the GPU that is named', PARTIAL, { gpu: '0' }, { offloaded: 2, total: 5, lacking: false }],
])('layers on the GPU: %s', (_, log, wanted: Pick<WorkerOptions, 'gpuLayers' | 'gpu'>, expected) => {
  expect(report(log).offload(wanted)).toEqual({ ...expected, requested: wanted.gpuLayers });
});

test('a log that does not say what is loaded proves nothing', () => {
  const load = report('main: listening on http://127.0.0.1:4711');
  expect(load.memory(undefined)).toEqual([]);
  expect(load.offload({ gpuLayers: 99 })).toBeUndefined();
  expect(load.shortage(undefined)).toBeUndefined();
});

test('a shortage names the device and what did not fit', () => {
  expect(report(SHORTAGE).shortage('1')).toBe(
    'out of memory: 953 MiB more do not fit into the memory of Vulkan1',
  );
  expect(report('x: failed to allocate CPU buffer of size 1048577').shortage('1')).toBe(
    'out of memory: 2 MiB more do not fit into main memory',
  );
});
