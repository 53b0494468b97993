import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runDoctor } from '../../src/commands/doctor.js';
import { ROOT } from '../../src/config/root.js';
import { probeBinary } from '../../workers/binary.js';
import { listDevices, type Device } from '../../workers/devices.js';
import { get, json, sseData } from '../support/exchange.js';
import { parseExposition } from '../support/exposition.js';
import { emptyFolder } from '../support/folder.js';
import { LiveServer, processSettings } from '../support/live.js';
import { isAlive } from '../support/pool.js';
import { begun, CHAT, DISH, KEY, killWorkers, post, user } from '../live/requests.js';

/**
 * LMServ on a GPU: Mesa's lavapipe, a Vulkan device that any machine has, or with GPU_FLAVOUR=cuda an NVIDIA GPU. LLM_BIN_PATH
 * may name the binary. What needs faults that a GPU does not show on demand is in test/process/pool/gpus.test.ts.
 */

const FLAVOURS: Readonly<Record<string, { readonly device: string; readonly remedy: string }>> = {
  vulkan: {
    device: 'Vulkan0',
    remedy:
      'install mesa-vulkan-drivers (apt-get install mesa-vulkan-drivers), then run npm run setup -- --gpu vulkan',
  },
  cuda: { device: 'CUDA0', remedy: 'install the NVIDIA driver, then run npm run setup -- --gpu cuda' },
};

const { GPU_FLAVOUR: flavour = 'vulkan', LLM_BIN_PATH: configured } = process.env;
const { device, remedy } = FLAVOURS[flavour] ?? unknownFlavour();
const binary = configured ?? join(ROOT, `vendor/llama.cpp/build-${flavour}/bin/llama-cli`);

/** lavapipe compiles its shaders for a worker's first request, for half a minute on a slow machine. */
const PATIENCE = {
  START_TIMEOUT_SECS: '300',
  FIRST_TOKEN_TIMEOUT_SECS: '300',
  TOKEN_TIMEOUT_SECS: '300',
};

const ON_GPU = { LLM_BIN_PATH: binary, LLM_GPUS: '0', LLM_GPU_LAYERS: '99', ...PATIENCE };
const ALL_LAYERS = { offloaded: 5, total: 5, requested: 99, lacking: false };

/** No machine has this many. */
const NO_GPU = '77';

const QUESTIONS = [DISH, 'Hello', 'What can you do?', 'Tell me a story', 'What is the capital of Peru?'];

const folder = emptyFolder();
const servers: LiveServer[] = [];
let listed: Device;

beforeAll(async () => {
  await probeBinary(binary).catch((error: Error) => {
    throw new Error(`There is no llama.cpp for ${flavour} (${error.message}): ${remedy}`);
  });
  const [found] = (await listDevices(binary, ['0'], process.env)) ?? [];
  if (!found) throw new Error(`${binary} lists no ${flavour} device: ${remedy}`);
  listed = found;
  // The shaders stay in Mesa's cache, so only this worker has to compile them.
  const warm = await serve();
  await ask(warm, DISH);
  await stopAll();
}, 300_000);

afterEach(stopAll);

function unknownFlavour(): never {
  throw new Error(`GPU_FLAVOUR is ${flavour}; it can be ${Object.keys(FLAVOURS).join(' or ')}`);
}

async function stopAll(): Promise<void> {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
}

async function serve(env: Record<string, string> = {}): Promise<LiveServer> {
  const server = new LiveServer({ ...ON_GPU, ...env });
  servers.push(server);
  return server.start();
}

async function ask(server: LiveServer, question: string): Promise<string> {
  const { text } = await post(server, CHAT, { ...user(question), temperature: 0, max_tokens: 60 });
  return JSON.parse(text).choices[0].message.content;
}

const free = async (): Promise<number> => (await listDevices(binary, ['0'], process.env))![0]!.free;

const metricsOf = async (server: LiveServer) =>
  parseExposition((await get(`${server.url}/metrics`, KEY)).text);

test('two workers share the named device, with all layers on it', async () => {
  const server = await serve({ LLM_WORKERS: '2' });
  await server.untilReady(({ workers }) => workers.idle === 2);
  for (const { layers, memory } of server.logged('worker_ready')) {
    expect(layers).toEqual(ALL_LAYERS);
    const [onDevice] = memory.filter((entry: any) => entry.device === device);
    expect(onDevice.model).toBeGreaterThan(2.5 * 2 ** 20);
    expect(onDevice.context).toBeGreaterThan(0);
  }
  expect(server.logged('worker_lacks_gpu')).toEqual([]);
  const replies = await Promise.all([ask(server, DISH), ask(server, DISH)]);
  expect(replies).toEqual([replies[0], replies[0]]);
  expect(replies[0]).toMatch(/ceviche/i);
});

test('replies are those of the CPU', async () => {
  const [gpu, cpu] = await Promise.all([serve(), serve({ LLM_GPU_LAYERS: '0' })]);
  expect(cpu.logged('worker_ready')[0].layers).toMatchObject({ offloaded: 0, lacking: false });
  for (const question of QUESTIONS) expect(await ask(gpu, question)).toBe(await ask(cpu, question));
});

test('as many layers as requested are on the device', async () => {
  const server = await serve({ LLM_GPU_LAYERS: '2' });
  expect(server.logged('worker_ready')[0].layers).toEqual({ ...ALL_LAYERS, offloaded: 2, requested: 2 });
  expect(server.logged('worker_lacks_gpu')).toEqual([]);
  expect(await ask(server, DISH)).toMatch(/ceviche/i);
});

test('without the named device a worker serves from the CPU, with a warning in the log, the metrics, the health check and the doctor', async () => {
  const server = await serve({ LLM_GPUS: NO_GPU });
  const [{ worker }] = server.logged('worker_ready');
  expect(server.logged('worker_lacks_gpu')).toMatchObject([
    { level: 40, worker, layers: { offloaded: 0, total: 5 } },
  ]);
  expect(await ask(server, DISH)).toMatch(/ceviche/i);
  expect((await metricsOf(server)).value('lmserv_workers_lacking_gpu')).toBe(1);
  expect(json(await get(`${server.url}/ready`))).toMatchObject({ lackingGpu: [worker] });
  const lines = await doctor({ LLM_GPUS: NO_GPU, PORT: String(server.port) });
  expect(lines['GPU']).toMatchObject({ level: 'warn', found: expect.stringContaining('ask for one') });
  expect(lines['GPU layers']).toMatchObject({ level: 'warn', found: expect.stringContaining(worker) });
});

test('the device is named with its memory in the metrics, the health check and the doctor', async () => {
  const server = await serve();
  const metrics = await metricsOf(server);
  const { name, total } = listed;
  expect(metrics.value('lmserv_gpu_memory_bytes', { device, name, kind: 'total' })).toBeCloseTo(total, -8);
  expect(metrics.value('lmserv_gpu_memory_bytes', { device, name, kind: 'free' })).toBeGreaterThan(0);
  expect(metrics.value('lmserv_worker_layers', { place: 'gpu' })).toBe(5);
  expect(metrics.value('lmserv_worker_model_memory_bytes', { device, kind: 'context' })).toBeGreaterThan(0);
  expect(metrics.value('lmserv_workers_lacking_gpu')).toBe(0);
  expect(json(await get(`${server.url}/ready`)).gpus).toMatchObject([{ device, name }]);
  const lines = await doctor({ PORT: String(server.port) });
  expect(lines['GPU']).toMatchObject({ level: 'ok', found: expect.stringContaining(`${device} ${name} (`) });
  expect(lines['GPU layers']).toMatchObject({ level: 'ok' });
});

test('a reply survives the end of its worker, and the device has no less room afterwards', async () => {
  const server = await serve({ LLM_WORKERS: '2' });
  await server.untilReady(({ workers }) => workers.idle === 2);
  const before = await free();
  const whole = await ask(server, 'Tell me a story');
  for (let kills = 0; kills < 3; kills += 1) {
    const running = await begun(server, CHAT, {
      ...{ ...user('Tell me a story'), temperature: 0, max_tokens: 60, stream: true },
    });
    const pids = server.workerPids();
    killWorkers(server);
    expect(contentOf((await running.reply).text)).toBe(whole);
    expect(pids.filter(isAlive)).toEqual([]);
    await server.untilReady(({ workers }) => workers.idle === 2);
  }
  expect(server.logged('worker_ready').every(({ layers }) => layers.offloaded === 5)).toBe(true);
  expect(await free()).toBeGreaterThan(before - 64 * 2 ** 20);
});

/** How each kind of device is made too small for the model. */
const SHORT: Readonly<Record<string, () => Record<string, string>>> = {
  // lavapipe's memory is the process's own.
  vulkan: () => ({ LLM_BIN_PATH: limited(), LLM_CTX_SIZE: '390000' }),
  cuda: () => ({ LLM_BIN_PATH: binary, LLM_CTX_SIZE: '16777216', LLM_SLOTS: '16' }),
};

/** A llama-cli whose memory is limited as long as a file exists. */
function limited(): string {
  const file = join(folder, 'llama-cli');
  writeFileSync(join(folder, 'limit'), '');
  const limit = `[ -e '${join(folder, 'limit')}' ] && ulimit -v 1500000`;
  writeFileSync(file, `#!/bin/bash\n${limit}\nexec '${binary}' "$@"\n`, { mode: 0o755 });
  return file;
}

test('a model that does not fit is a failed start that names the device, and clients learn it', async () => {
  const server = new LiveServer({ ...ON_GPU, ...SHORT[flavour]!() });
  servers.push(server);
  await server.server.start();
  const { reason, cause } = await server.until('worker_exit');
  expect(cause).toBe('start_failed');
  expect(reason).toMatch(
    new RegExp(`^out of memory: \\d+ MiB more do not fit into the memory of ${device}$`),
  );
  await server.untilReady(({ status }) => status === 'unavailable');
  const { status, text } = await post(server, CHAT, user('Hello'));
  expect([status, text]).toEqual([503, expect.stringContaining(reason)]);
  if (flavour !== 'vulkan') return;
  rmSync(join(folder, 'limit'));
  await server.server.ready;
  expect(await ask(server, DISH)).toMatch(/ceviche/i);
});

/** The lines of `lmserv doctor`, by check. */
async function doctor(env: Record<string, string>): Promise<Record<string, any>> {
  let report = '';
  const settings = { ...processSettings(folder), ...ON_GPU, ...env };
  await runDoctor({ json: true, env: settings, folder }, (text) => (report += text));
  return Object.fromEntries(JSON.parse(report).checks.map((line: any) => [line.check, line]));
}

/** The text of a streamed chat completion. */
const contentOf = (stream: string): string =>
  sseData(stream)
    .map((event) => event.choices?.[0]?.delta.content ?? '')
    .join('');
