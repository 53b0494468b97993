import { listDevices } from '../../workers/devices.js';
import type { Worker } from '../../workers/worker.js';

/** A binary is asked for its devices at most this often, milliseconds. */
const ASK_PAUSE_MS = 60_000;

/** Pause after a worker was replaced without success, milliseconds: then something else keeps its layers off the GPU. */
const RETRY_PAUSE_MS = 10 * 60_000;

/** Notices that the GPU of a worker is back, which computes on the CPU since it was started without. */
export class GpuReturn {
  readonly #list: typeof listDevices;
  #notBefore = 0;

  constructor(list = listDevices) {
    this.#list = list;
  }

  /** Whether a worker should be replaced now, because its binary lists a device again. Never rejects. */
  async concerns(worker: Worker, env: NodeJS.ProcessEnv, now = performance.now()): Promise<boolean> {
    if (!worker.offload?.lacking || now < this.#notBefore) return false;
    this.#notBefore = now + ASK_PAUSE_MS;
    const { binary, gpu } = worker.options;
    const devices = await this.#list(binary.path, gpu === undefined ? [] : [gpu], env);
    if (!devices?.length) return false;
    this.#notBefore = now + RETRY_PAUSE_MS;
    return true;
  }

  /** A worker became ready: one on its GPU shows that others may follow. */
  ready(worker: Worker): void {
    if (worker.offload?.lacking === false) this.#notBefore = 0;
  }
}
