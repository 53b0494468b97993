/** What the drivers say about this machine's GPUs, and which of llama.cpp's devices that concerns. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compact } from '../compact.js';

/** A device that workers compute on. Memory is in bytes. */
export interface Gpu {
  /** As llama.cpp names it, with the number that LLM_GPUS takes: `CUDA1`. */
  readonly device: string;
  readonly name: string;
  readonly total: number;
  readonly free: number;
  /** Degrees Celsius. */
  readonly temperature?: number;
  /** Watts. */
  readonly power?: number;
}

/** What a driver says about one card; what it does not say is absent. Memory is in bytes. */
export interface Card {
  /** As nvidia-smi numbers it; absent for other cards. */
  readonly index?: number;
  readonly uuid?: string;
  /** As CUDA numbers it here; absent if CUDA_VISIBLE_DEVICES hides it. */
  readonly cuda?: number;
  readonly name?: string;
  readonly total?: number;
  readonly free?: number;
  readonly temperature?: number;
  readonly power?: number;
}

const MIB = 2 ** 20;

/** Max time for nvidia-smi, milliseconds; it takes seconds while the driver wakes up. */
const TIMEOUT_MS = 8_000;

const QUERY = 'index,uuid,memory.total,memory.free,temperature.gpu,power.draw,name';

/** The arguments with which nvidia-smi prints what `parseNvidiaSmi` reads. */
export const NVIDIA_SMI_ARGS = [`--query-gpu=${QUERY}`, '--format=csv,noheader,nounits'];

/** Reads lines like `0, GPU-4f2…, 143771, 143200, 31, 74.97, NVIDIA H200`; a value may be `[N/A]`. Pure. */
export function parseNvidiaSmi(output: string): Card[] {
  return output.split('\n').flatMap((line) => {
    const [index, uuid, total, free, temperature, power, ...name] = line.split(', ');
    if (!/^\d+$/.test(index ?? '') || name.length === 0) return [];
    return compact({
      index: Number(index),
      uuid,
      total: numberOf(total, MIB),
      free: numberOf(free, MIB),
      temperature: numberOf(temperature),
      power: numberOf(power),
      name: name.join(', ').trim(),
    });
  });
}

function numberOf(text: string | undefined, unit = 1): number | undefined {
  const value = Number.parseFloat(text ?? '');
  return Number.isFinite(value) ? value * unit : undefined;
}

/**
 * Asks nvidia-smi, and Linux about the other cards; never rejects.
 *
 * @param env the environment of llama.cpp's programs.
 */
export async function readCards(env: NodeJS.ProcessEnv, folder = '/sys/class/drm'): Promise<Card[]> {
  const [nvidia, others] = await Promise.all([askNvidiaSmi(env), readDrm(folder)]);
  const visible = env.CUDA_VISIBLE_DEVICES?.split(',');
  const numbered = nvidia.map((card) => {
    const place = visible ? visible.findIndex((id) => isCard(card, id)) : card.index!;
    return place < 0 ? card : { ...card, cuda: place };
  });
  return [...numbered, ...others];
}

/** @param id its number or the beginning of its UUID. */
function isCard({ index, uuid }: Card, id: string): boolean {
  return String(index) === id || (id !== '' && uuid?.startsWith(id) === true);
}

function askNvidiaSmi(env: NodeJS.ProcessEnv): Promise<Card[]> {
  const options = { env, timeout: TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: MIB } as const;
  return new Promise((resolve) => {
    execFile('nvidia-smi', NVIDIA_SMI_ARGS, options, (error, stdout) =>
      resolve(error ? [] : parseNvidiaSmi(stdout)),
    );
  });
}

/** Cards whose driver has sensors of the kernel's: AMD's and, for discrete ones, Intel's. */
async function readDrm(folder: string): Promise<Card[]> {
  const entries = await readdir(folder).catch(() => []);
  const names = entries.filter((name) => /^card\d+$/.test(name)).sort();
  const cards = await Promise.all(names.map((name) => readCard(join(folder, name, 'device'))));
  return cards.filter((card) => Object.keys(card).length > 0);
}

async function readCard(device: string): Promise<Card> {
  const sensors = join(device, 'hwmon');
  const [sensor] = await readdir(sensors).catch(() => []);
  const hwmon = (name: string) => (sensor === undefined ? undefined : join(sensors, sensor, name));
  const [total, used, temperature, average, input] = await Promise.all([
    readNumber(join(device, 'mem_info_vram_total')),
    readNumber(join(device, 'mem_info_vram_used')),
    readNumber(hwmon('temp1_input')),
    readNumber(hwmon('power1_average')),
    readNumber(hwmon('power1_input')),
  ]);
  const power = average ?? input;
  return compact({
    total,
    free: total !== undefined && used !== undefined ? total - used : undefined,
    temperature: temperature === undefined ? undefined : temperature / 1e3,
    power: power === undefined ? undefined : power / 1e6,
  });
}

async function readNumber(path: string | undefined): Promise<number | undefined> {
  if (path === undefined) return undefined;
  return numberOf(await readFile(path, 'utf8').catch(() => undefined));
}

/** A device as llama.cpp lists it. */
interface Listed {
  readonly id: string;
  readonly name: string;
}

/**
 * The card of a device, if that is certain: CUDA numbers its devices as nvidia-smi does; other runtimes do not say which
 * card a device is, so there it must be the only one of its name, or the only card and the only device. Pure.
 *
 * @param devices all that the binary lists.
 * @param gpus the GPUs that the binary is shown, as in LLM_GPUS; none leaves it to llama.cpp.
 */
export function cardOf(
  device: Listed,
  devices: readonly Listed[],
  cards: readonly Card[],
  gpus: readonly string[],
): Card | undefined {
  const cuda = /^CUDA(\d+)$/.exec(device.id)?.[1];
  if (cuda !== undefined) {
    const gpu = gpus[Number(cuda)];
    return cards.find((card) =>
      gpus.length > 0 ? gpu !== undefined && isCard(card, gpu) : card.cuda === Number(cuda),
    );
  }
  const named = cards.filter(({ name }) => name === device.name);
  if (named.length === 1) return named[0];
  return cards.length === 1 && devices.length === 1 && cards[0]!.index === undefined ? cards[0] : undefined;
}
