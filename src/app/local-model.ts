import { existsSync, statSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join } from 'node:path';
import { resolveBinary, type ResolvedBinary } from '../../workers/binary.js';
import { batchOf } from '../../workers/options.js';
import { chooseSlots, chooseThreads } from '../../workers/sizing.js';
import { LocalBackend } from '../backends/local/backend.js';
import { checkAdapters } from '../catalogue/adapters.js';
import { estimateMemory, type MemoryEstimate } from '../catalogue/estimate.js';
import { fileFacts, unloadedFacts, workOf } from '../catalogue/facts.js';
import type { ModelSettings } from '../config/file/schema.js';
import type { Config } from '../config/load.js';
import { isOnHub } from '../config/model-path.js';
import { ROOT } from '../config/root.js';
import { UserError } from '../errors.js';
import { inspectModel, type InspectedModel } from '../install/models/inspect.js';
import { ModelError } from '../install/models/spec.js';
import { total, type Amounts } from '../memory/amounts.js';
import { HOST } from '../memory/budget.js';
import type { Logger } from '../observe/logger.js';
import type { PoolObserver } from '../observe/pool-observer.js';
import { Pool } from '../pool/pool.js';
import { ModelSlots, type SavedSlots } from '../slots/model-slots.js';
import type { DeviceMemories, DeviceUse } from './device-memory.js';

export interface LocalModelOptions {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
  readonly observer?: PoolObserver | undefined;
  readonly devices: DeviceMemories;
  readonly findBinary: FindBinary;
  /** Where slots of workers are saved; undefined if they are not. */
  readonly slots?: SavedSlots | undefined;
}

/** Finds the binary for a configured one. @throws BinaryError */
export type FindBinary = (configured: string | undefined) => Promise<ResolvedBinary>;

/** Looks at each binary once, because each look starts it. */
export function binaryFinder(env: NodeJS.ProcessEnv): FindBinary {
  const found = new Map<string | undefined, Promise<ResolvedBinary>>();
  return (configured) => {
    const binary =
      found.get(configured) ?? resolveBinary({ root: ROOT, env, configured, searchPath: env.PATH });
    found.set(configured, binary);
    return binary;
  };
}

/** A model of this machine, asleep. */
export interface LocalModel {
  readonly backend: LocalBackend;
  readonly local: LocalBackend;
  /** Unix time of its file, seconds. */
  readonly created: number;
  /** The version of llama.cpp that its workers run. */
  readonly llamaCpp: string;
  /** What its workers will take. */
  readonly estimate: Amounts;
  readonly devices: DeviceUse;
}

/**
 * Makes a model's pool and backend.
 *
 * @param workers of all local models together.
 * @throws BinaryError, UserError.
 */
export async function makeLocalModel(
  name: string,
  model: ModelSettings,
  workers: number,
  { config, env, logger, observer, devices, findBinary, slots: savedSlots }: LocalModelOptions,
): Promise<LocalModel> {
  const found = await findBinary(model.binPath ?? config.binPath);
  const file = await modelFile(name, model.path, env);
  const modelPath = file.path;
  await checkAdapters(file.header, model.lora);
  const facts = fileFacts(file.header);
  const { task, pooling, splits, context: ctxSize } = workOf(facts, model);
  const binary = task === 'chat' ? found : serverFor(name, found, model.found === true);
  const slots = chooseSlots(model, workers, binary.path);
  const slotSaver = task === 'chat' && savedSlots ? slotSaverOf(name, binary, savedSlots, logger) : undefined;
  const pool = new Pool({
    name,
    workers: model.workers,
    worker: {
      ...model,
      binary,
      modelPath,
      slots,
      ...{ task, pooling, splits, ctxSize },
      threads: chooseThreads(model, Math.max(workers, model.workers)),
      cacheRamMb: task === 'chat' ? Math.floor(cacheMb(model, config) / model.workers) : 0,
      timeouts: config.timeouts,
      slotFolder: slotSaver && savedSlots?.store.folder,
    },
    slotSaver,
    gpus: model.gpus,
    recycling: config.recycling,
    queueLimit: config.queueLimit,
    queueTimeoutMs: config.queueTimeoutMs,
    resumeTimeoutMs: config.resumeTimeoutMs,
    env,
    logger,
    observer,
  });
  logger.info({ event: 'model', model: name, binary: binary.kind, llamaCpp: binary.version }, 'model');
  const backend = new LocalBackend(name, pool, logger, {
    resume: config.replyResume,
    promptCache: config.promptCache,
    rejectSpecialTokens: config.specialTokens === 'reject',
    messageShaping: config.messageShaping === 'auto',
    facts: unloadedFacts(facts, file.size, { task, context: ctxSize }, model),
    ...{ task, matryoshka: model.matryoshka, observer },
  });
  void pool.firstReady.then(() => backend.learned());
  const created = Math.floor(statSync(modelPath).mtimeMs / 1000);
  const use = { binary: binary.path, gpus: model.gpus };
  const batch = batchOf({ ...model, slots, ctxSize, splits, gpu: model.gpus[0] });
  const estimate = placeNeed(
    estimateMemory(facts, file.size + sizeBeside(model), { ...model, slots, context: ctxSize, batch }),
    model.gpuLayers === 0 ? {} : await devices.total(use),
  );
  return { backend, local: backend, created, llamaCpp: binary.version, estimate, devices: use };
}

/** Only a llama-server saves slots. */
function slotSaverOf(
  name: string,
  { kind, path }: ResolvedBinary,
  saved: SavedSlots,
  logger: Logger,
): ModelSlots | undefined {
  if (kind === 'llama-server') return new ModelSlots({ ...saved, name, logger });
  const text = `SLOT_SAVE_MB has no effect on ${name}: set LLM_BIN_PATH to a llama-server, such as the one beside ${path}`;
  logger.warn({ event: 'slots_off', model: name }, text);
  return undefined;
}

/**
 * The llama-server beside a llama-cli, which has no options for models that do not write.
 *
 * @param mayLack a file that lies in a folder keeps no server from starting: only requests for it fail.
 * @throws UserError if there is none.
 */
function serverFor(name: string, binary: ResolvedBinary, mayLack: boolean): ResolvedBinary {
  if (binary.kind === 'llama-server') return binary;
  const path = join(dirname(binary.path), 'llama-server');
  if (mayLack || existsSync(path)) return { ...binary, path, kind: 'llama-server' };
  throw new UserError(
    `The model ${name} does not write, so it needs a llama-server, and there is no ${path}: run npm run setup, or set LLM_BIN_PATH to one`,
  );
}

/**
 * A model of the hub is fetched once and then found without the network.
 *
 * @throws UserError for what llama.cpp could never load, because each of its starts would fail.
 */
async function modelFile(name: string, path: string, env: NodeJS.ProcessEnv): Promise<ModelFile> {
  if (isOnHub(path)) {
    // Loaded only for a model of the hub, as the remotes are.
    const { ensureModel } = await import('../install/models/ensure.js');
    const { hubOptions } = await import('../install/models/hub.js');
    const fetched = await ensureModel(path, { modelsDir: join(ROOT, 'models'), ...hubOptions(env) });
    return { path: fetched, ...(await inspectModel(fetched)) };
  }
  const inspected = await inspectModel(path).catch((error: Error) => {
    throw new ModelError(`The model ${name}: ${error.message}; get a model with npm run model`);
  });
  return { path, ...inspected };
}

/** A model's file; of a split model, the first part. */
interface ModelFile extends InspectedModel {
  readonly path: string;
}

/**
 * The prompt cache of all workers, MiB; by default an eighth of the free memory: enough for a few conversations without
 * crowding out anything else.
 */
function cacheMb({ cacheRamMb }: ModelSettings, { memoryBytes: limit }: Config): number {
  const free = limit > 0 ? Math.min(limit, freemem()) : freemem();
  return cacheRamMb ?? Math.min(8192, Math.floor(free / 2 ** 20 / 8));
}

/** Bytes of the projector and the adapters. */
function sizeBeside({ mmproj, lora }: ModelSettings): number {
  const files = [mmproj ?? [], ...lora.map(({ path }) => path)].flat();
  return files.reduce((sum, path) => sum + statSync(path).size, 0);
}

/** The share of a device's memory that llama.cpp fills at most; the rest of a model stays in main memory. */
const FILLED = 0.9;

/**
 * Where the workers of a model will take their memory: on the devices in proportion to their size, as far as that goes.
 *
 * @param devices the whole memory of each device.
 */
export function placeNeed({ total: all, shared, compute }: MemoryEstimate, devices: Amounts): Amounts {
  const capacity = total(devices);
  if (capacity === 0) return { [HOST]: shared };
  const placed = Math.min(all, capacity * FILLED);
  const share = (size: number): number => (placed * size) / capacity;
  const onDevices = Object.fromEntries(Object.entries(devices).map(([id, size]) => [id, share(size)]));
  // The process itself stays in main memory.
  return { ...onDevices, [HOST]: all - placed + compute };
}
