/** What the server would be started with, as far as it can be read: a wrong value is noted and the rest still checked. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse as parseDotenv } from 'dotenv';
import { ConfigError, DEFAULT_KEY, loadConfig, type Config, type LocalModelConfig } from '../config.js';
import { loadConfigFile } from '../config-file/index.js';

/** A model that this machine is to serve. */
export type CheckedModel = Pick<
  LocalModelConfig,
  'id' | 'path' | 'binPath' | 'workers' | 'slots' | 'ctxSize' | 'threads' | 'gpuLayers' | 'gpus' | 'cacheRamMb'
>;

export interface Settings {
  /** Why the server would not start with these; one line each. */
  readonly problems: readonly string[];
  readonly host: string;
  readonly port: number;
  readonly apiKey: string;
  readonly models: readonly CheckedModel[];
  /** LLM_MODEL_PATH or the configuration file names the model. */
  readonly modelChosen: boolean;
  /** Absolute; undefined when there is none. */
  readonly keysFile: string | undefined;
  /** Absolute. */
  readonly dataDir: string;
  /** Absolute; it need not be there. */
  readonly envFile: string;
  /** Names in it that have a secret for a value. */
  readonly envFileSecrets: readonly string[];
  /** Values that must never be shown. */
  readonly secrets: readonly string[];
}

type Env = Readonly<Record<string, string | undefined>>;

const SECRET_NAME = /(KEY|TOKEN|SECRET|PASSWORD)$/;

/** Shorter ones would blot out words of the report. Characters. */
const SHORTEST_SECRET = 6;

/** Reads the settings as `lmserv serve` in that folder would. Never throws for a wrong value. */
export function readSettings(env: Env, folder: string): Settings {
  const envFile = join(folder, '.env');
  const problems = new Set<string>();
  const dotenv = attempt(problems, () => (existsSync(envFile) ? parseDotenv(readFileSync(envFile)) : {})) ?? {};
  const all: Env = { ...dotenv, ...env };
  const config = tolerantConfig(all, folder, problems);
  const file = all.LMSERV_CONFIG ? resolve(folder, all.LMSERV_CONFIG) : undefined;
  return {
    host: config.host,
    port: config.port,
    apiKey: config.apiKey,
    models: (file && attempt(problems, () => modelsOf(file, config))) || config.models,
    modelChosen: Boolean(file ?? all.LLM_MODEL_PATH),
    keysFile: all.API_KEYS_FILE ? resolve(folder, all.API_KEYS_FILE) : undefined,
    dataDir: resolve(folder, all.DATA_DIR || 'data'),
    envFile,
    envFileSecrets: Object.keys(dotenv).filter((name) => isSecret(name, dotenv[name])),
    secrets: Object.keys(all).flatMap((name) => (isSecret(name, all[name]) ? [all[name]!] : [])),
    problems: [...problems],
  };
}

function isSecret(name: string, value = ''): boolean {
  return SECRET_NAME.test(name) && value.length >= SHORTEST_SECRET && value !== DEFAULT_KEY;
}

/** Loads the configuration, each wrong variable in turn noted and replaced by its default. */
function tolerantConfig(env: Env, folder: string, problems: Set<string>): Config {
  const replaced: Record<string, string> = {};
  for (;;) {
    try {
      return loadConfig(replaced, env, folder);
    } catch (error) {
      problems.add(messageOf(error));
      const name = error instanceof ConfigError ? /^([A-Z_]+): /.exec(error.message)?.[1] : undefined;
      if (name === undefined || name in replaced) return defaults(folder);
      replaced[name] = name === 'HOST' ? '127.0.0.1' : '';
    }
  }
}

/** Those of a folder without `.env`, in an empty environment. */
const defaults = (folder: string): Config => loadConfig({}, {}, join(folder, '.env', 'none'));

function modelsOf(file: string, config: Config): CheckedModel[] {
  const [standard] = config.models;
  return Object.entries(loadConfigFile(file).models).map(([id, model]) => ({
    id,
    path: model.path,
    binPath: model.binPath ?? standard?.binPath,
    workers: model.workers,
    slots: model.slots,
    ctxSize: model.context,
    threads: model.threads ?? standard?.threads ?? 1,
    gpuLayers: model.gpuLayers,
    gpus: model.gpus,
    cacheRamMb: Math.floor((model.cacheRamMb ?? standard?.cacheRamMb ?? 0) / model.workers),
  }));
}

function attempt<T>(problems: Set<string>, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    problems.add(messageOf(error));
    return undefined;
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
