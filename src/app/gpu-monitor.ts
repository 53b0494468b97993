import { deviceName, listDevices, type Device } from '../../workers/devices.js';
import { runtimeEnv } from '../../workers/options.js';
import { compact } from '../compact.js';
import type { WorkerInfo } from '../contract.js';
import { cardOf, readCards, type Card, type Gpu } from '../observe/gpus.js';
import { systemClock, within, type Clock } from '../time.js';
import type { DeviceUse } from './device-memory.js';

export interface GpuMonitorOptions {
  /** The workers of all models; what they run and which GPUs they may use decides what is listed. */
  readonly workers: () => readonly WorkerInfo[];
  /** The environment that workers inherit from. */
  readonly env: NodeJS.ProcessEnv;
  readonly list?: typeof listDevices;
  readonly cards?: typeof readCards;
  readonly clock?: Clock;
}

interface Listing extends DeviceUse {
  readonly devices: readonly Device[];
  readonly at: number;
}

/** Drivers are asked again after this time, milliseconds. */
const MAX_AGE_MS = 15_000;

/** A binary is asked again after this time, milliseconds, because it initialises the GPU's runtime for that. */
const MAX_LISTING_AGE_MS = 60_000;

/** Max time that a scrape waits for a reading, milliseconds. */
const WAIT_MS = 2_000;

/**
 * Knows the GPUs that the workers' binaries can use. It reads them only when it is asked, at most every 15 s, and never
 * twice at the same time.
 */
export class GpuMonitor {
  readonly #options: GpuMonitorOptions;
  readonly #clock: Clock;
  readonly #listings = new Map<string, Listing>();
  #gpus: readonly Gpu[] = [];
  #readAt = -Infinity;
  #reading: Promise<void> | undefined;

  constructor(options: GpuMonitorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** The last reading, for health checks. Starts another one when that is old, and does not wait for it. */
  get health(): { readonly gpus?: readonly Gpu[]; readonly lackingGpu?: readonly string[] } {
    void this.#refresh();
    const lacking = this.#options.workers().filter(({ offload }) => offload?.lacking);
    return {
      ...(this.#gpus.length > 0 && { gpus: this.#gpus }),
      ...(lacking.length > 0 && { lackingGpu: lacking.map(({ id }) => id) }),
    };
  }

  /** A reading of the last 15 s; the last one if that takes longer than 2 s. */
  async read(): Promise<readonly Gpu[]> {
    await within(WAIT_MS, this.#refresh(), this.#clock);
    return this.#gpus;
  }

  #refresh(): Promise<void> {
    if (this.#clock.now() - this.#readAt < MAX_AGE_MS) return Promise.resolve();
    this.#reading ??= this.#readAll().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #readAll(): Promise<void> {
    const { workers, env, cards: readAllCards = readCards } = this.#options;
    const uses = usesOf(workers());
    // Before the first worker is spawned there is nothing to ask.
    if (uses.length === 0 && this.#listings.size === 0) return;
    const cards = await readAllCards(runtimeEnv(env, []));
    for (const use of uses) await this.#list(use, cards);
    const gpus = [...this.#listings.values()].flatMap((listing) => this.#describe(listing, cards));
    this.#gpus = [...new Map(gpus.map((gpu) => [gpu.device, gpu])).values()];
    this.#readAt = this.#clock.now();
  }

  /** A binary whose devices' memory the drivers tell is asked only once. */
  async #list(use: DeviceUse, cards: readonly Card[]): Promise<void> {
    const key = JSON.stringify(use);
    const known = this.#listings.get(key);
    const isFresh = known && this.#clock.now() - known.at < MAX_LISTING_AGE_MS;
    if (
      isFresh ||
      (known?.devices.length && known.devices.every((device) => this.#isTold(device, known, cards)))
    )
      return;
    const { env, list = listDevices } = this.#options;
    const devices = (await list(use.binary, use.gpus, env)) ?? [];
    this.#listings.set(key, { ...use, devices, at: this.#clock.now() });
  }

  #isTold(device: Device, listing: Listing, cards: readonly Card[]): boolean {
    return this.#cardOf(device, listing, cards)?.free !== undefined;
  }

  #describe(listing: Listing, cards: readonly Card[]): Gpu[] {
    return listing.devices.map((device, index) => {
      const { total, free, temperature, power } = this.#cardOf(device, listing, cards) ?? {};
      return compact({
        device: deviceName(device.id, listing.gpus[index]),
        name: device.name,
        total: total ?? device.total,
        free: free ?? device.free,
        ...{ temperature, power },
      });
    });
  }

  #cardOf(device: Device, { devices, gpus }: Listing, cards: readonly Card[]): Card | undefined {
    return cardOf(device, devices, cards, gpus);
  }
}

function usesOf(workers: readonly WorkerInfo[]): DeviceUse[] {
  const uses = new Map<string, { readonly binary: string; readonly gpus: Set<string> }>();
  for (const { model, binary, gpu } of workers) {
    if (binary === undefined) continue;
    const key = `${model} ${binary}`;
    const use = uses.get(key) ?? { binary, gpus: new Set() };
    uses.set(key, use);
    if (gpu !== undefined) use.gpus.add(gpu);
  }
  const all = [...uses.values()].map(({ binary, gpus }) => ({ binary, gpus: [...gpus].sort() }));
  return [...new Map(all.map((use) => [JSON.stringify(use), use])).values()];
}
