/** The devices that a llama.cpp binary can compute on, besides the CPU. */
import { execFile } from 'node:child_process';
import { runtimeEnv } from './options.js';

/** Memory is in bytes. */
export interface Device {
  /** As llama.cpp names it, like `CUDA0`. */
  readonly id: string;
  readonly name: string;
  readonly total: number;
  readonly free: number;
}

/** Max time for a binary to list its devices, milliseconds; a driver that wakes many GPUs takes seconds. */
const TIMEOUT_MS = 15_000;

/**
 * Asks the binary. On CUDA this takes some hundred MiB of each GPU for a moment.
 *
 * @param gpus as in LLM_GPUS: only these; none leaves it to llama.cpp.
 * @returns undefined when it fails or takes too long.
 */
export function listDevices(
  file: string,
  gpus: readonly string[],
  parentEnv: NodeJS.ProcessEnv,
): Promise<Device[] | undefined> {
  const env = runtimeEnv(parentEnv, gpus);
  const options = { env, timeout: TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 20 } as const;
  return new Promise((resolve) => {
    const child = execFile(file, ['--list-devices'], options, (error, stdout, stderr) =>
      resolve(error ? undefined : parseDevices(`${stdout}\n${stderr}`)),
    );
    child.stdin?.on('error', () => undefined).end();
  });
}

/** Reads lines like `  CUDA0: NVIDIA H200 (143771 MiB, 143200 MiB free)`. */
export function parseDevices(output: string): Device[] {
  const lines = output.matchAll(/^ +(\S+): (.+) \((\d+) MiB, (\d+) MiB free\)/gm);
  return [...lines].map(([, id, name, total, free]) => ({
    id: id!,
    name: name!,
    total: Number(total) * 2 ** 20,
    free: Number(free) * 2 ** 20,
  }));
}

/**
 * The name of a device with the number that LLM_GPUS takes: a worker that may use one GPU only calls it the first.
 *
 * @param gpu the GPU that stands in this place, as LLM_GPUS names it.
 */
export function deviceName(id: string, gpu: string | undefined): string {
  if (gpu === undefined) return id;
  return /^\d+$/.test(gpu) ? id.replace(/\d*$/, gpu) : gpu;
}
