import { Gauge, type Registry } from 'prom-client';
import type { Gpu } from '../gpus.js';

/** Metrics of the GPUs; rewritten for each scrape. */
export class GpuMetrics {
  readonly #memory;
  readonly #temperature;
  readonly #power;

  constructor(registry: Registry) {
    const gauge = (name: string, help: string, extraLabels: readonly string[] = []) =>
      new Gauge({ name, help, labelNames: ['device', 'name', ...extraLabels], registers: [registry] });
    this.#memory = gauge('lmserv_gpu_memory_bytes', 'Memory of a GPU: total, and free for any process.', [
      'kind',
    ]);
    this.#temperature = gauge('lmserv_gpu_temperature_celsius', 'Temperature of a GPU, if its driver tells.');
    this.#power = gauge('lmserv_gpu_power_watts', 'Power that a GPU draws, if its driver tells.');
  }

  update(gpus: readonly Gpu[]): void {
    for (const metric of [this.#memory, this.#temperature, this.#power]) metric.reset();
    for (const { device, name, total, free, temperature, power } of gpus) {
      this.#memory.set({ device, name, kind: 'total' }, total);
      this.#memory.set({ device, name, kind: 'free' }, free);
      if (temperature !== undefined) this.#temperature.set({ device, name }, temperature);
      if (power !== undefined) this.#power.set({ device, name }, power);
    }
  }
}
