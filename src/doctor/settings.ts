/** What the server would be started with, as far as it can be read: a wrong value is noted and the rest still checked. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse as parseDotenv } from 'dotenv';
import { ConfigError, DEFAULT_KEY, loadConfig, slotsOf, threadsOf, type Config } from '../config/config.js';
import { readTextSync } from '../files/read-text.js';
import { ProfileError } from '../dialects/llm-connect/profiles/profile.js';

/** A model that this machine is to serve. */
export interface CheckedModel {
  readonly id: string;
  /** Absolute, or `hf:org/repo:quant`. */
  readonly path: string;
  /** Absolute; undefined searches for one. */
  readonly binPath: string | undefined;
  readonly workers: number;
  readonly slots: number;
  /** Context of a slot, tokens. */
  readonly context: number;
  /** Of each worker. */
  readonly threads: number;
  readonly gpuLayers: number | undefined;
  readonly gpus: readonly string[];
  /** Prompt cache over all workers, MiB; undefined is a share of what is free. */
  readonly cacheRamMb: number | undefined;
}

export interface Settings {
  /** Why the server would not start with these; one line each. */
  readonly problems: readonly string[];
  /** What the server would note at its start. */
  readonly notes: readonly string[];
  /** Absolute; it need not be there. */
  readonly envFile: string;
  /** Names in it whose values are secrets. */
  readonly envFileSecrets: readonly string[];
  /** Values that must never be shown. */
  readonly secrets: readonly string[];
  /** undefined when they cannot be read at all. */
  readonly server: ServerSettings | undefined;
}

export interface ServerSettings {
  readonly host: string;
  readonly port: number;
  readonly apiKey: string;
  /** No key is asked for at all. */
  readonly open: boolean;
  /** Absolute; undefined when there is none. */
  readonly keysFile: string | undefined;
  /** Absolute. */
  readonly dataDir: string;
  readonly models: readonly CheckedModel[];
}

type Env = Readonly<Record<string, string | undefined>>;

const SECRET_NAME = /(KEY|TOKEN|SECRET|PASSWORD)$/;

/** Shorter ones would blot out words of the report. Characters. */
const SHORTEST_SECRET = 6;

/** Reads the settings as `lmserv serve` in that folder would. Never throws for a wrong value. */
export function readSettings(env: Env, folder: string): Settings {
  const envFile = join(folder, '.env');
  const problems: string[] = [];
  const dotenv = readDotenv(envFile, problems);
  const loaded = tolerantConfig(env, folder, problems);
  return {
    problems,
    notes: loaded?.config.notes ?? [],
    envFile,
    envFileSecrets: Object.keys(dotenv).filter((name) => isSecret(name, dotenv[name])),
    secrets: [dotenv, env].flatMap(secretsOf),
    server: loaded && serverSettings(loaded, resolve(folder, { ...dotenv, ...env }.LLM_MODEL_PATH ?? '')),
  };
}

function readDotenv(file: string, problems: string[]): Env {
  try {
    return existsSync(file) ? parseDotenv(readTextSync(file).text) : {};
  } catch (error) {
    problems.push(`.env: cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return {};
  }
}

const secretsOf = (env: Env): string[] =>
  Object.keys(env).flatMap((name) => (isSecret(name, env[name]) ? [env[name]!] : []));

function isSecret(name: string, value = ''): boolean {
  return SECRET_NAME.test(name) && value.length >= SHORTEST_SECRET && value !== DEFAULT_KEY;
}

interface Loaded {
  readonly config: Config;
  /** Variables whose values were wrong and are their defaults now. */
  readonly replaced: readonly string[];
}

/** Loads the configuration, each wrong variable in turn noted and replaced by its default. */
function tolerantConfig(env: Env, folder: string, problems: string[]): Loaded | undefined {
  const replaced: Record<string, string> = {};
  let disableProfiles = false;
  for (;;) {
    try {
      const config = loadConfig(replaced, { env, folder, disableProfiles });
      return { config, replaced: Object.keys(replaced) };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!problems.includes(message)) problems.push(message);
      const name = error instanceof ConfigError ? /^([A-Z_]+): /.exec(message)?.[1] : undefined;
      if (error instanceof ProfileError && !disableProfiles) disableProfiles = true;
      else if (name === undefined || name === 'LMSERV_CONFIG' || name in replaced) return undefined;
      else replaced[name] = name === 'HOST' ? '127.0.0.1' : '';
    }
  }
}

function serverSettings({ config, replaced }: Loaded, modelPath: string): ServerSettings {
  const { host, port, apiKey, open, keysFile, dataDir } = config;
  // The default model in the place of the one that was asked for would be checked in vain.
  const wrong = replaced.includes('LLM_MODEL_PATH') ? { path: modelPath } : {};
  const models = checkedModels(config).map((model) => ({ ...model, ...wrong }));
  return { host, port, apiKey, open, keysFile, dataDir, models };
}

/** Paths in a Config are absolute. */
function checkedModels({ file, binPath }: Config): CheckedModel[] {
  const models = Object.entries(file.models);
  const workers = models.reduce((sum, [, model]) => sum + model.workers, 0);
  return models.map(([id, model]) => ({
    ...model,
    id,
    binPath: model.binPath ?? binPath,
    threads: threadsOf(model, workers),
    slots: slotsOf(model, workers, model.binPath ?? binPath),
    gpuLayers: model.gpuLayers,
    cacheRamMb: model.cacheRamMb,
  }));
}
