import { statSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { resolveBinary, type ResolvedBinary } from '../../workers/binary.js';
import { batchOf, type WorkerOptions } from '../../workers/options.js';
import { chooseSlots, chooseThreads } from '../../workers/sizing.js';
import { LocalBackend } from '../backends/local/backend.js';
import { checkAdapters } from '../catalogue/adapters.js';
import { estimateMemory } from '../catalogue/estimate.js';
import { fileFacts, unloadedFacts } from '../catalogue/facts.js';
import type { ModelSettings } from '../config/file/schema.js';
import type { Config } from '../config/load.js';
import { isOnHub } from '../config/model-path.js';
import { ROOT } from '../config/root.js';
import { inspectModel, type InspectedModel } from '../install/models/inspect.js';
import { ModelError } from '../install/models/spec.js';
import type { Amounts } from '../memory/amounts.js';
import { HOST } from '../memory/budget.js';
import type { Logger } from '../observe/logger.js';
import type { PoolObserver } from '../observe/pool-observer.js';
import { Pool } from '../pool/pool.js';

export interface LocalModelOptions {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
  readonly observer?: PoolObserver | undefined;
  readonly findBinary: FindBinary;
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
  { config, env, logger, observer, findBinary }: LocalModelOptions,
): Promise<LocalModel> {
  const binary = await findBinary(model.binPath ?? config.binPath);
  const modelPath = await modelFile(name, model.path, env);
  await checkAdapters(modelPath, model.lora);
  const file = await inspectModel(modelPath);
  const worker = {
    ...model,
    binary,
    modelPath,
    slots: chooseSlots(model, workers, binary.path),
    ctxSize: model.context,
    threads: chooseThreads(model, Math.max(workers, model.workers)),
    cacheRamMb: Math.floor((model.cacheRamMb ?? defaultCacheMb()) / model.workers),
    timeouts: config.timeouts,
  };
  const pool = new Pool({
    name,
    workers: model.workers,
    worker,
    gpus: model.gpus,
    recycling: config.recycling,
    queueLimit: config.queueLimit,
    queueTimeoutMs: config.queueTimeoutMs,
    env,
    logger,
    observer,
  });
  logger.info({ event: 'model', model: name, binary: binary.kind, llamaCpp: binary.version }, 'model');
  const backend = new LocalBackend(name, pool, logger, {
    resume: { enabled: config.replyResume, timeoutMs: config.resumeTimeoutMs },
    promptCache: config.promptCache,
    rejectSpecialTokens: config.specialTokens === 'reject',
    messageShaping: config.messageShaping === 'auto',
    facts: unloadedFacts(fileFacts(file.header), file.size, model),
    observer,
  });
  const created = Math.floor(statSync(modelPath).mtimeMs / 1000);
  const estimate = estimateNeed(file, model, worker);
  return { backend, local: backend, created, llamaCpp: binary.version, estimate };
}

/**
 * A model of the hub is fetched once and then found without the network.
 *
 * @throws UserError for what llama.cpp could never load, because each of its starts would fail.
 */
async function modelFile(name: string, path: string, env: NodeJS.ProcessEnv): Promise<string> {
  if (isOnHub(path)) {
    // Loaded only for a model of the hub, as the remotes are.
    const { ensureModel } = await import('../install/models/ensure.js');
    const { hubOptions } = await import('../install/models/hub.js');
    return ensureModel(path, { modelsDir: join(ROOT, 'models'), ...hubOptions(env) });
  }
  await inspectModel(path).catch((error: Error) => {
    throw new ModelError(`The model ${name}: ${error.message}; get a model with npm run model`);
  });
  return path;
}

/** An eighth of the free memory, MiB: enough for a few conversations without crowding out anything else. */
function defaultCacheMb(): number {
  return Math.min(8192, Math.floor(freemem() / 2 ** 20 / 8));
}

/** Where the workers share the weights, which is so unless they are on a GPU. */
function estimateNeed(
  { header, size }: InspectedModel,
  { workers, mmproj, lora }: ModelSettings,
  { slots, ctxSize: context, extraArgs, ...worker }: WorkerOptions,
): Amounts {
  const beside = [mmproj ?? [], ...lora.map(({ path }) => path)].flat();
  const bytes = beside.reduce((sum, path) => sum + statSync(path).size, size);
  const settings = { workers, slots, context, extraArgs, batch: batchOf({ slots, ...worker }) };
  return { [HOST]: estimateMemory(fileFacts(header), bytes, settings).shared };
}
