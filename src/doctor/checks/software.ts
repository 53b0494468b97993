/** Node, the configuration, the binary and what stands beside it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOlder } from '../../install/early/node-version.mjs';
import { BUILD_FOLDERS, BinaryError, type ResolvedBinary } from '../../../workers/binary.js';
import { ROOT } from '../../config/root.js';
import type { Device } from '../../../workers/devices.js';
import { formatBytes } from '../../install/progress.js';
import { cardOf, type Card } from '../../observe/gpus.js';
import type { Facts } from '../facts.js';
import { fail, ok, warn, type Finding } from '../findings.js';
import type { CheckedModel } from '../settings.js';

const SETUP_CUDA = 'npm run setup -- --gpu cuda';
const LLAMA_CONFIG = '/etc/llama.cpp/config.ini';

export function checkNode({ probe }: Facts, needed = neededNode()): Finding {
  if (!isOlder(probe.node, needed)) return ok(probe.node);
  return fail(
    `${probe.node}, and ${needed} or later is needed`,
    'install a newer one: nodejs.org, nvm or your package manager',
  );
}

function neededNode(): string {
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    engines: { node: string };
  };
  return /\d+\.\d+\.\d+/.exec(engines.node)![0];
}

/** One line for each value that is wrong. */
export function checkConfiguration({ settings }: Facts): Finding[] {
  if (settings.problems.length === 0) return [ok(['loads', ...settings.notes].join('; '))];
  const left = settings.server ? '' : '; what depends on it is not checked until then';
  return settings.problems.map((problem) => fail(problem, `correct it and run this again${left}`));
}

/** One line for each binary that is in use. */
export async function checkBinary(facts: Facts): Promise<Finding[]> {
  const models = distinct(facts.server.models);
  if (models.length === 0) return [ok('no model on this machine needs one')];
  return Promise.all(models.map((model) => binaryFinding(facts, model)));
}

async function binaryFinding(facts: Facts, model: CheckedModel): Promise<Finding> {
  try {
    const binary = await facts.binary(model);
    return ok(`${binary.kind} ${binary.version}, ${flavourOf(binary)}: ${binary.path}`);
  } catch (error) {
    // Its message ends with what to do.
    if (error instanceof BinaryError) return fail(error.message);
    throw error;
  }
}

const distinct = (models: readonly CheckedModel[]): CheckedModel[] => [
  ...new Map(models.map((model) => [model.binPath, model])).values(),
];

/** The folder of a build of `npm run setup`; undefined for a binary from elsewhere. */
function buildFolder({ path }: ResolvedBinary): (typeof BUILD_FOLDERS)[number] | undefined {
  return BUILD_FOLDERS.find((name) => path.startsWith(join(ROOT, 'vendor/llama.cpp', name, '/')));
}

function flavourOf(binary: ResolvedBinary): string {
  const folder = buildFolder(binary);
  if (folder === undefined) return 'a build of your own';
  return folder === 'build' ? 'built for the CPU' : `built for ${folder.slice('build-'.length)}`;
}

/** Whether the workers can use the GPU that is there. One line for each binary. */
export async function checkGpu(facts: Facts): Promise<Finding[]> {
  const models = distinct(facts.server.models);
  if (models.length === 0) return [ok('no model on this machine needs one')];
  const gpus = await facts.nvidiaGpus();
  return Promise.all(models.map(async (model) => gpuFinding(gpus, model, facts)));
}

async function gpuFinding(gpus: readonly string[], model: CheckedModel, facts: Facts): Promise<Finding> {
  const binary = await facts.binary(model).catch(() => undefined);
  if (!binary) return ok(gpus.length > 0 ? listed(gpus) : 'none');
  const devices = await facts.devices(model);
  if (devices?.length) return usable(devices, await facts.cards(), model);
  const cuda = buildFolder(binary) === 'build-cuda';
  if (gpus.length > 0) return unused(gpus, cuda, model);
  if (cuda)
    return warn(
      'none, but the binary is built for one',
      'look whether `nvidia-smi` lists it; without one use the CPU build',
    );
  if ((model.gpuLayers ?? 0) > 0 || model.gpus.length > 0) {
    return warn(
      'none, but LLM_GPU_LAYERS or LLM_GPUS ask for one',
      'take them out, or use a build for your GPU',
    );
  }
  return ok('none; the CPU computes');
}

function usable(devices: readonly Device[], cards: readonly Card[], model: CheckedModel): Finding {
  const names = listed(
    devices.map((device) => describeDevice(device, cardOf(device, devices, cards, model.gpus))),
  );
  if (model.gpuLayers !== 0) return ok(names);
  return warn(
    `${names}, but LLM_GPU_LAYERS is 0, so the CPU computes`,
    'take LLM_GPU_LAYERS out of the settings',
  );
}

function describeDevice({ id, name, total, free }: Device, { temperature, power }: Card = {}): string {
  const facts = [
    `${formatBytes(free)} of ${formatBytes(total)} free`,
    temperature !== undefined && `${Math.round(temperature)} °C`,
    power !== undefined && `${Math.round(power)} W`,
  ];
  return `${id} ${name} (${facts.filter(Boolean).join(', ')})`;
}

/** Whether the workers of an LMServ that runs here compute where they should. */
export async function checkGpuLayers(facts: Facts): Promise<Finding> {
  const asking = facts.server.models.filter(({ gpuLayers = 0, gpus }) => gpuLayers > 0 || gpus.length > 0);
  if (asking.length === 0) return ok('none are asked for');
  const lacking = await facts.lackingGpu();
  if (lacking === undefined) return ok('where workers compute is shown while LMServ runs');
  if (lacking.length === 0) return ok('on the GPU as asked for');
  return warn(
    `the CPU computes in place of a GPU in ${lacking.join(', ')}`,
    'see the line GPU, and the log of the worker; docs/gpu.md',
  );
}

function unused(gpus: readonly string[], cuda: boolean, { binPath }: CheckedModel): Finding {
  const names = listed(gpus);
  if (!cuda) {
    const unset = binPath === undefined ? '' : ', and unset LLM_BIN_PATH (binPath)';
    return warn(`${names}, but the binary cannot use it`, SETUP_CUDA + unset);
  }
  return warn(
    `${names}, but the CUDA build finds none`,
    "look at CUDA_VISIBLE_DEVICES, the driver and this account's rights to /dev/nvidia*",
  );
}

const listed = (names: readonly string[]): string => names.join(', ');

/** A file of the system's that every llama.cpp program reads. */
export async function checkLlamaConfig({ probe }: Facts): Promise<Finding> {
  if (!(await probe.stat(LLAMA_CONFIG))) return ok(`no ${LLAMA_CONFIG}`);
  return warn(`${LLAMA_CONFIG} is there and changes the workers silently`, 'move it away');
}

/** The program that has the kernel end workers when the server is killed. */
export async function checkSetpriv({ probe }: Facts): Promise<Finding> {
  const path = await probe.findProgram('setpriv');
  return ok(path ?? 'none; a guard beside each worker ends it when the server is killed');
}
