import { deviceName, listDevices, type Device } from '../../workers/devices.js';
import type { Amounts } from '../memory/amounts.js';

/** A binary, and the GPUs that its workers may use; none leaves the choice to llama.cpp. */
export interface DeviceUse {
  readonly binary: string;
  readonly gpus: readonly string[];
}

interface Listing {
  readonly devices: Promise<readonly Device[]>;
  readonly at: number;
}

/** A binary is asked again after this time, milliseconds. */
const MAX_AGE_MS = 1_000;

/** Knows the memory of the devices that models can be loaded into, under the names that workers report. */
export class DeviceMemories {
  readonly #env: NodeJS.ProcessEnv;
  readonly #list: typeof listDevices;
  readonly #listings = new Map<string, Listing>();

  constructor(env: NodeJS.ProcessEnv, list = listDevices) {
    this.#env = env;
    this.#list = list;
  }

  /** Free memory, bytes. What a binary does not tell is left out, and so not limited. */
  async free(uses: readonly DeviceUse[]): Promise<Amounts> {
    const all: Record<string, number> = {};
    for (const use of uses)
      for (const [index, { id, free }] of (await this.#devices(use)).entries())
        all[deviceName(id, use.gpus[index])] = free;
    return all;
  }

  /** Whole memory, bytes. */
  async total(use: DeviceUse): Promise<Amounts> {
    const devices = await this.#devices(use);
    return Object.fromEntries(
      devices.map(({ id, total }, index) => [deviceName(id, use.gpus[index]), total]),
    );
  }

  async #devices(use: DeviceUse): Promise<readonly Device[]> {
    const key = JSON.stringify(use);
    const known = this.#listings.get(key);
    // A binary without devices does not get any; and nobody waits twice for the same list.
    if (known && (performance.now() - known.at < MAX_AGE_MS || (await known.devices).length === 0))
      return known.devices;
    const devices = this.#list(use.binary, use.gpus, this.#env).then((found) => found ?? []);
    this.#listings.set(key, { devices, at: performance.now() });
    return devices;
  }
}
