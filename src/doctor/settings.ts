/** What the server would be started with: a bad value is reported, and the rest is still checked. */
import { join } from 'node:path';
import { chooseSlots, chooseThreads } from '../../workers/sizing.js';
import { catalogueOptions, type CatalogueOptions } from '../catalogue/catalogue.js';
import type { ConfigFile, ModelSettings } from '../config/file/schema.js';
import { DEFAULT_KEY, readConfig, type Config } from '../config/load.js';
import { readDotenv } from '../files/dotenv.js';

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
  readonly extraArgs: readonly string[];
  /** Prompt cache over all workers, MiB; undefined is a share of what is free. */
  readonly cacheRamMb: number | undefined;
  /** Loaded at the start: the default, a pinned or a preloaded model. The others are loaded on request. */
  readonly isLoadedAtStart: boolean;
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
  /** What the server makes of the model files in its folders. */
  readonly catalogue: CatalogueSettings;
}

export interface CatalogueSettings extends CatalogueOptions {
  readonly file: ConfigFile;
}

type Env = Readonly<Record<string, string | undefined>>;

const SECRET_NAME = /(KEY|TOKEN|SECRET|PASSWORD)$/;

/** Shorter ones would blot out words of the report. Characters. */
const SHORTEST_SECRET = 6;

/** Reads the settings as `lmserv serve` in that folder would. Never throws for a wrong value. */
export function readSettings(env: Env, folder: string): Settings {
  const envFile = join(folder, '.env');
  const dotenv = readDotenv(envFile);
  const { config, problems } = readConfig({}, { env, folder });
  return {
    problems: problems.map(({ variable, message }) => `${variable}: ${message}`),
    notes: config?.notes ?? [],
    envFile,
    envFileSecrets: Object.keys(dotenv).filter((name) => isSecret(name, dotenv[name])),
    secrets: [dotenv, env].flatMap(secretsOf),
    server: config && {
      ...config,
      models: checkedModels(config),
      catalogue: { ...catalogueOptions(config), file: config.file },
    },
  };
}

const secretsOf = (env: Env): string[] =>
  Object.keys(env).flatMap((name) => (isSecret(name, env[name]) ? [env[name]!] : []));

function isSecret(name: string, value = ''): boolean {
  return SECRET_NAME.test(name) && value.length >= SHORTEST_SECRET && value !== DEFAULT_KEY;
}

/** Paths in a Config are absolute. */
function checkedModels({ file, binPath }: Config): CheckedModel[] {
  const models = Object.entries(file.models);
  const workers = models.reduce((sum, [, model]) => sum + model.workers, 0);
  const defaults = defaultModels(file);
  return models.map(([id, model]) => ({
    ...model,
    id,
    binPath: model.binPath ?? binPath,
    threads: chooseThreads(model, workers),
    slots: chooseSlots(model, workers, model.binPath ?? binPath),
    gpuLayers: model.gpuLayers,
    cacheRamMb: model.cacheRamMb,
    isLoadedAtStart: Boolean(model.pin || model.preload || defaults.includes(id)),
  }));
}

/** The models for requests that name none: one, or those of a group. */
function defaultModels({ default: wanted, models, groups }: ConfigFile): string[] {
  if (wanted === undefined) return Object.keys(models).slice(0, 1);
  const called = Object.entries(groups).find(([id, { aliases }]) => [id, ...aliases].includes(wanted));
  // A set grows while it is walked.
  const names = new Set(called ? [called[0]] : []);
  for (const name of names) groups[name]?.fallback.forEach((next) => names.add(next));
  if (called) return [...names].flatMap((name) => groups[name]?.members ?? []);
  const isWanted = ([id, { aliases }]: [string, ModelSettings]) =>
    id === wanted || aliases.some(({ name }) => name === wanted);
  return Object.entries(models)
    .filter(isWanted)
    .map(([id]) => id);
}
