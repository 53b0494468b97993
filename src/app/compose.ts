import { existsSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import { join } from 'node:path';
import type { Express } from 'express';
import { Keyring } from '../accounts/keys/keyring.js';
import { Accounting } from '../accounts/usage/accounting.js';
import { toBudget } from '../accounts/usage/budget.js';
import { openUsageStore, type UsageStore } from '../accounts/usage/store.js';
import { resolveBinary } from '../../workers/binary.js';
import { Catalogue, catalogueOptions } from '../catalogue/catalogue.js';
import type { ConfigFile } from '../config/file/schema.js';
import { processEnv, type Config } from '../config/load.js';
import { parseConfigFile, readConfigFile } from '../config/file/load.js';
import { ROOT, VERSION } from '../config/root.js';
import type { CustomBackend } from '../contract.js';
import type { ExecuteOptions } from '../dialects/llm-connect/execute.js';
import { compact } from '../compact.js';
import { RoutingPolicyError, type RoutingPolicy } from '../dialects/llm-connect/routing-policy.js';
import { WatchedFile } from '../files/watched-file.js';
import {
  createAskTokens,
  createEvaluate,
  createGenerate,
  type GenerateOptions,
  type Resolve,
} from '../generate/generate.js';
import { Residence } from '../generate/residence.js';
import { createApp } from '../http/app.js';
import { keyAuth, type Authenticate } from '../http/auth.js';
import { fullName } from '../http/host-check.js';
import { InFlight } from '../http/in-flight.js';
import { logRequest, type RequestObserver } from '../http/request-log.js';
import { routes, type Route } from '../http/routes.js';
import { httpServer } from '../http/server.js';
import type { LogOutput } from '../observe/log-output.js';
import type { Logger } from '../observe/logger.js';
import { Metrics } from '../observe/metrics/metrics.js';
import { StallMonitor } from '../observe/stall-monitor.js';
import { SlotStore } from '../slots/store.js';
import { Backends } from './backends.js';
import { GpuMonitor } from './gpu-monitor.js';

/** The parts that a program may replace in LMServ or add to it. */
export interface Extensions {
  readonly logger?: Logger | undefined;
  /** Replaces LMServ's keys. */
  readonly authenticate?: Authenticate | undefined;
  /** Additional routes that generate; limits, usage and cancellation apply to them too. */
  readonly routes?: readonly Route[] | undefined;
  /** Adds any other routes, behind authentication. */
  readonly mount?: ((app: Express) => void) | undefined;
  /** Other kinds of backends, by model name. */
  readonly backends?: Readonly<Record<string, CustomBackend>> | undefined;
  /** Chooses the model by `task_type` in /execute. */
  readonly routingPolicy?: RoutingPolicy | undefined;
  /** Descriptor of a listening TCP socket that outlives this process; it replaces HOST and PORT. */
  readonly listenFd?: number | undefined;
}

export interface ComposeOptions {
  readonly config: Config;
  readonly extensions: Extensions;
  readonly logger: Logger;
  readonly output: LogOutput;
}

/** The parts of one LMServ that start and stop. */
export interface Parts {
  readonly backends: Backends;
  readonly keyring: Keyring;
  readonly usage: UsageStore;
  /** Saved slots, if they are saved. */
  readonly slots: SlotStore | undefined;
  readonly catalogue: Catalogue;
  /** The configuration file, if there is one. */
  readonly configFile: WatchedFile | undefined;
  readonly inFlight: InFlight;
  readonly stalls: StallMonitor;
  readonly http: HttpServer;
}

/**
 * Makes the parts of an LMServ and connects them; nothing is started.
 *
 * @throws BinaryError, ConfigError, KeyFileError or UsageFileError.
 */
export async function compose({ config, extensions, logger, output }: ComposeOptions): Promise<Parts> {
  const workers = () => backends.served().flatMap((served) => served.workers);
  const gpus = new GpuMonitor({ workers, env: processEnv() });
  const metrics = new Metrics({
    version: VERSION,
    models: () => backends.served(),
    memoryFigures: () => backends.memoryFigures,
    droppedLogLines: () => output.droppedInAll,
    usageBacklog: () => usage.backlog,
    gpus: () => gpus.read(),
  });
  const catalogue = await openCatalogue(config, extensions, logger, (file) => backends.apply(file));
  const keyring = openKeyring(config, logger, () => void slots?.eraseRevoked());
  const slots = slotStore(config, extensions, keyring, logger);
  const backends: Backends = await Backends.create({
    config: { ...config, file: catalogue.file },
    env: processEnv(),
    logger,
    observer: metrics.poolObserver,
    backends: extensions.backends,
    slots: slots?.keeps ? { store: slots, ownerOf: (caller) => keyring.idOf(caller) } : undefined,
  });
  const usage = openUsage(config, logger);
  const configFile = watchedConfig(config, catalogue, logger);
  const accounting = new Accounting({
    store: usage,
    tenantBudget: (tenant) => {
      const budget = backends.file.tenants[tenant]?.budget;
      return budget && toBudget(budget);
    },
    keyBudget: (key) => keyring.budgetOf(key),
    priceOf: (model) => backends.registry.priceOf(model),
  });
  const resolve: Resolve = (...name) => backends.registry.resolve(...name);
  const residence = new Residence({
    resolve,
    memory: backends.memory,
    isDefault: (model) => backends.registry.defaultModels.includes(model),
    idleMs: config.modelIdleMs,
  });
  const inFlight = new InFlight();
  const stalls = stallMonitor(metrics, logger);
  const observed = generateOptions(metrics, logger);
  const app = createApp({
    settings: { ...config, allowedHosts: [...config.allowedHosts, config.host] },
    version: VERSION,
    ownNames: fullName(),
    generate: createGenerate(resolve, observed),
    evaluate: createEvaluate(resolve, observed),
    askTokens: createAskTokens(resolve),
    residence,
    backends,
    accounting,
    metrics,
    admin: {
      memory: backends.memory,
      registry: {
        list: () => backends.registry.list(),
        modelsOf: (name) => backends.registry.modelsOf(name),
      },
      unusable: () => catalogue.unusable,
    },
    gpus: () => gpus.health,
    authenticate:
      extensions.authenticate ??
      keyAuth({ open: config.open, keyless: config.keyless, lookup: (key) => keyring.authenticate(key) }),
    observer: requestObserver({ stalls, accounting, residence, metrics, logger }),
    inFlight,
    logger,
    routes: [
      ...routes({ execute: executeOptions(config, backends, extensions.routingPolicy) }),
      ...(extensions.routes ?? []),
    ],
    mount: extensions.mount,
  });
  const http = httpServer(app);
  return { backends, catalogue, keyring, usage, slots, configFile, inFlight, stalls, http };
}

/** @param onChange after a changed file was loaded */
function openKeyring({ apiKey, keysFile }: Config, logger: Logger, onChange: () => void): Keyring {
  return new Keyring({
    ...compact({ apiKey: apiKey || undefined, file: keysFile }),
    onError: (error) => logger.error({ event: 'keys_refused', reason: error.message }, 'keys not reloaded'),
    onWarning: (message) => logger.warn({ event: 'keys_warning' }, message),
    onReload: (size) => {
      onChange();
      logger.info({ event: 'keys_reloaded', keys: size }, 'keys reloaded');
    },
  });
}

/** Saved slots; with none to be kept, what is left of a time when some were is erased. */
function slotStore(
  { dataDir, slotSaveBytes, slotSaveMs, promptCache }: Config,
  { authenticate }: Extensions,
  keyring: Keyring,
  logger: Logger,
): SlotStore | undefined {
  const folder = join(dataDir, 'slots');
  // Callers of another authentication have no keys that could be revoked.
  const budget = promptCache && !authenticate ? slotSaveBytes : 0;
  if (budget === 0 && !existsSync(folder)) return undefined;
  const isCurrent = (owner: string) => keyring.holds(owner);
  return new SlotStore({ folder, budget, lifetimeMs: slotSaveMs, isCurrent, logger });
}

function openUsage({ dataDir }: Config, logger: Logger): UsageStore {
  return openUsageStore({
    file: join(dataDir, 'usage.sqlite'),
    onError: (error) =>
      logger.error({ event: 'usage_error', reason: error.message }, 'usage file not usable'),
    onRecovery: (message) => logger.info({ event: 'usage_recovered' }, message),
  });
}

async function openCatalogue(
  config: Config,
  { backends = {} }: Extensions,
  logger: Logger,
  apply: (file: ConfigFile) => Promise<void>,
): Promise<Catalogue> {
  const options = catalogueOptions(config, Object.keys(backends));
  const folders = (await canRunFound(config, logger)) ? options.folders : [];
  return Catalogue.open(config.file, { ...options, folders, logger, apply });
}

/** Whether there is a llama.cpp for model files that are in no configuration. Without one, the configured models decide. */
async function canRunFound({ file, binPath, modelFolders }: Config, logger: Logger): Promise<boolean> {
  const needed = Object.values(file.models).some((model) => model.binPath === undefined);
  if (needed || modelFolders.length === 0) return true;
  const env = processEnv();
  return resolveBinary({ root: ROOT, env, configured: binPath, searchPath: env.PATH }).then(
    () => true,
    (error: Error) => {
      logger.info({ event: 'model_folders_off', reason: error.message }, 'only configured models are served');
      return false;
    },
  );
}

function watchedConfig(
  { fileSource }: Config,
  catalogue: Catalogue,
  logger: Logger,
): WatchedFile | undefined {
  if (!fileSource) return undefined;
  const { path, text } = fileSource;
  return new WatchedFile({
    text,
    read: () => readConfigFile(path),
    apply: async (next) => {
      await catalogue.use(parseConfigFile(next.text, path));
      logger.info({ event: 'config_reloaded' }, 'configuration reloaded');
    },
    onError: (error) => {
      const reason = error instanceof Error ? error.message : String(error);
      logger.error({ event: 'config_refused', reason }, 'configuration not reloaded');
    },
  });
}

function stallMonitor(metrics: Metrics, logger: Logger): StallMonitor {
  return new StallMonitor({
    onStall: (ms, routes) => {
      metrics.stalled(ms);
      const line = { event: 'event_loop_stalled', ms: Math.round(ms), routes };
      logger.warn(line, 'no request could be served for a while');
    },
  });
}

function generateOptions(metrics: Metrics, logger: Logger): GenerateOptions {
  return {
    logger,
    onFailure: ({ error, refusal, ...member }) => {
      metrics.backendFailed({ model: member.model, error });
      // Errors that the operator must fix are logged in full; other messages may quote a remote server.
      const reason = error.code === 'configuration_error' ? error.message : undefined;
      const line = { ...member, error: error.code, reason };
      if (refusal) logger.info({ event: 'backend_refused', ...line }, 'a backend refused a request');
      else logger.warn({ event: 'backend_failed', ...line }, 'a backend failed');
    },
  };
}

function requestObserver({ stalls, accounting, residence, metrics, logger }: Observers): RequestObserver {
  return {
    requestBegan: stalls.requestBegan,
    requestDone: (record) => {
      const { caller, context, outcome, delivered } = record;
      const trace = delivered ? context.trace : { ...context.trace, completionTokens: 0 };
      if (caller && context.tenant !== undefined) accounting.record(context.tenant, caller, trace, outcome);
      if (caller && context.trace.model !== undefined) residence.used(context.trace.model, caller);
      logRequest(logger, record);
      metrics.requestDone(record);
    },
  };
}

/** What learns of each request. */
interface Observers {
  readonly stalls: StallMonitor;
  readonly accounting: Accounting;
  readonly residence: Residence;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

function executeOptions(
  { profiles, strictProfiles }: Config,
  backends: Backends,
  policy: RoutingPolicy | undefined,
): ExecuteOptions {
  return {
    profiles,
    strictProfiles,
    isKnownModel: (name) => backends.registry.has(name),
    ...(policy && { route: (taskType: string) => resolveRoute(policy, taskType) }),
  };
}

/** A task type without a rule in the policy is ignored. */
function resolveRoute(policy: RoutingPolicy, taskType: string): string | undefined {
  try {
    return policy.resolve(taskType);
  } catch (error) {
    if (error instanceof RoutingPolicyError && error.code === 'no_route') return undefined;
    throw error;
  }
}
