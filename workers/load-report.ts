/** What llama.cpp's log says while it loads a model. Pure. */

import type { DeviceMemory, Offload } from '../src/contract.js';
import { deviceName } from './devices.js';
import type { WorkerOptions } from './options.js';

const MIB = 2 ** 20;

/** `load_tensors:   CPU_Mapped model buffer size =     3.21 MiB`. */
const BUFFER = /\s(\S+) +(model|LoRA|KV|RS|DSV4 \S+ state|compute|output) buffer size = +([\d.]+) MiB/;

/** `load_hparams: model size:         812.50 MiB`, of a projector. */
const PROJECTOR_SIZE = /: model size: +([\d.]+) MiB/;
const PROJECTOR_DEVICE = /: CLIP using (\S+) backend/;

/** `alloc_tensor_range: failed to allocate CUDA0 buffer of size 998768640`, of weights, cache or compute buffers. */
const NOT_ALLOCATED = /: failed to allocate (\S+) buffer of size (\d+)/;

const OFFLOADED = /: offloaded (\d+)\/(\d+) layers to GPU/;

/** `print_info: n_layer               = 4`, without the output layer. */
const LAYERS = /print_info: n_layer +[=:] +(\d+)/;

type Part = 'model' | 'context' | 'compute';
type Bytes = Record<Part | 'mapped', number>;

/** Reads the log of one load, line by line. */
export class LoadReport {
  readonly #devices = new Map<string, Bytes>();
  #projectorDevice = 'host';
  #offloaded = 0;
  #layers: number | undefined;
  #shortage: { readonly device: string; readonly bytes: number } | undefined;

  add(line: string): void {
    const [, buffer, kind, size] = BUFFER.exec(line) ?? [];
    if (buffer !== undefined) return this.#count(buffer, partOf(kind!), Number(size));
    const [, projectorSize] = PROJECTOR_SIZE.exec(line) ?? [];
    if (projectorSize !== undefined)
      return this.#count(this.#projectorDevice, 'model', Number(projectorSize));
    this.#projectorDevice = PROJECTOR_DEVICE.exec(line)?.[1] ?? this.#projectorDevice;
    const [, offloaded, total] = OFFLOADED.exec(line) ?? [];
    if (offloaded !== undefined) {
      this.#offloaded = Number(offloaded);
      this.#layers = Number(total);
    }
    const [, device, bytes] = NOT_ALLOCATED.exec(line) ?? [];
    if (device !== undefined) this.#shortage ??= { device: deviceOf(device), bytes: Number(bytes) };
    const repeating = LAYERS.exec(line)?.[1];
    if (repeating !== undefined) this.#layers ??= Number(repeating) + 1;
  }

  /** By device; empty if llama.cpp did not say. @param gpu the only one that it may use, as LLM_GPUS names it. */
  memory(gpu: string | undefined): DeviceMemory[] {
    return [...this.#devices].map(([id, bytes]) => ({
      device: id === 'host' ? id : deviceName(id, gpu),
      ...bytes,
    }));
  }

  /** Undefined if llama.cpp did not say what it loaded; a build for the CPU then says nothing of layers. */
  offload({ gpuLayers: requested, gpu }: Pick<WorkerOptions, 'gpuLayers' | 'gpu'>): Offload | undefined {
    if (this.#devices.size === 0) return undefined;
    const offloaded = this.#offloaded;
    const total = this.#layers;
    const least = requested ?? (gpu === undefined ? 0 : 1);
    return { offloaded, total, requested, lacking: offloaded < Math.min(least, total ?? least) };
  }

  /** Why the load failed, if memory was short. @param gpu as for `memory` */
  shortage(gpu: string | undefined): string | undefined {
    if (!this.#shortage) return undefined;
    const { device, bytes } = this.#shortage;
    const place = device === 'host' ? 'main memory' : `the memory of ${deviceName(device, gpu)}`;
    return `out of memory: ${Math.ceil(bytes / MIB)} MiB more do not fit into ${place}`;
  }

  #count(buffer: string, part: Part, mib: number): void {
    const id = deviceOf(buffer);
    const sum = this.#devices.get(id) ?? { model: 0, mapped: 0, context: 0, compute: 0 };
    this.#devices.set(id, sum);
    const bytes = Math.round(mib * MIB);
    sum[part] += bytes;
    if (part === 'model' && buffer.endsWith('_Mapped')) sum.mapped += bytes;
  }
}

function partOf(kind: string): Part {
  if (kind === 'model' || kind === 'LoRA') return 'model';
  return kind === 'compute' || kind === 'output' ? 'compute' : 'context';
}

/** Buffers of the CPU (`CPU_Mapped`, `CPU_REPACK`, `AMX`) and those through which a GPU reads main memory (`CUDA_Host`). */
const HOST = /^(?:CPU|AMX|BLAS|host$)|_Host$/;

/** The rest of a name is the kind of the buffer: `CUDA0`, `MTL0_Private`. */
function deviceOf(buffer: string): string {
  return HOST.test(buffer) ? 'host' : buffer.split('_')[0]!;
}
