/** The only code that reads the environment: turns variables, `.env` and the configuration file into a frozen Config. */

import { existsSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { basename, join, resolve } from 'node:path';
import { compact } from '../compact.js';
import { UserError } from '../errors.js';
import { createProfiles, profilesJson, type Profile } from '../dialects/llm-connect/profiles/profile.js';
import { Profiles } from '../dialects/llm-connect/profiles/profiles.js';
import { readDotenv } from '../files/dotenv.js';
import { readTextSync } from '../files/read-text.js';
import { isLoopback } from '../wire/address.js';
import { ConfigFileError, describeIssue, parseConfigFile, readConfigFileSync } from './file/load.js';
import type { ConfigFile } from './file/schema.js';
import { HUB_PREFIX, isOnHub } from './model-path.js';
import { ROOT } from './root.js';
import {
  describeIssues,
  isProfileVariable,
  readVariables,
  type Env,
  type Problem,
  type Settings,
} from './variables.js';

/** Invalid values, which prevent a start. The message has a line for each, beginning with the variable or file. */
export class ConfigError extends UserError {
  readonly problems: readonly Problem[];
  constructor(...problems: readonly Problem[]) {
    super(problems.map(({ variable, message }) => `${variable}: ${message}`).join('\n'));
    this.problems = problems;
  }
}

/** Values that do not come from a single variable. */
interface Derived {
  readonly host: string;
  readonly port: number;
  /** Empty if API_KEY is not a key. */
  readonly apiKey: string;
  /** No key is required. */
  readonly open: boolean;
  /** Models, remote servers, groups and budgets, from the configuration file or the LLM_ variables. */
  readonly file: ConfigFile;
  /** Where `file` was read from, with its text; undefined if it was made from variables. */
  readonly fileSource: { readonly path: string; readonly text: string } | undefined;
  /** Folders whose model files are served by their names. */
  readonly modelFolders: readonly string[];
  readonly profiles: Profiles;
  readonly strictProfiles: boolean;
  /** Remarks for the operator about how values were derived; logged at startup. */
  readonly notes: readonly string[];
}

/** Variables that only serve to derive other values. */
type Ingredient =
  | ('configFile' | 'modelPath' | 'modelsDir' | 'connectHost' | 'connectPort')
  | ('profilesJson' | 'profileFile' | 'triage');

/** The variables' values (`variables.ts` explains each) and the values derived from them. Paths are absolute. */
export interface Config extends Omit<Settings, keyof Derived | Ingredient>, Derived {}

export const DEFAULT_KEY = 'changeme';
const DEFAULT_MODEL = 'models/gemma-2b-it-q4_0.gguf';
/** Where `npm run model` puts models. */
export const MODELS_FOLDER = join(ROOT, 'models');
export const DEMO_MODEL = join(MODELS_FOLDER, 'lmserv-demo.gguf');
const DEFAULT_CONFIG_FILE = 'lmserv.config.json';

export interface LoadOptions {
  readonly disableProfiles?: boolean | undefined;
  readonly strictProfiles?: boolean | undefined;
  readonly env?: Env;
  /** The folder for `.env` and relative paths. */
  readonly folder?: string;
}

/**
 * Reads the configuration. `overrides` are values from the command line or a program, by variable name; they take
 * precedence over the environment, which takes precedence over `.env`.
 *
 * @throws ConfigError with all problems.
 */
export function loadConfig(overrides: Env = {}, options: LoadOptions = {}): Config {
  const { config, problems } = readConfig(overrides, options);
  if (!config || problems.length > 0) throw new ConfigError(...problems);
  return config;
}

/**
 * As `loadConfig`, but returns the problems beside a Config with a default for each invalid value. There is no Config if
 * the configuration file cannot be used.
 */
export function readConfig(
  overrides: Env = {},
  {
    env = process.env,
    folder = process.cwd(),
    disableProfiles = false,
    strictProfiles = false,
  }: LoadOptions = {},
): { config: Config | undefined; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const report = (variable: string, message: string) => void problems.push({ variable, message });
  const dotenv = readDotenv(join(folder, '.env'), (reason) => report('.env', reason));
  const variables = readVariables({ ...dotenv, ...env, ...compact(overrides) });
  problems.push(...variables.problems.filter((p) => !disableProfiles || !isProfileVariable(p.variable)));
  const reading: Reading = { folder, report, problems, notes: [] };
  const {
    configFile,
    modelPath,
    modelsDir,
    connectHost,
    connectPort,
    profilesJson,
    profileFile,
    triage,
    ...settings
  } = variables.settings;
  const at = (path: string) => resolve(folder, path);
  const access = decideAccess(variables.settings, reading);
  const models = readModels(variables.settings, reading);
  const profiles = disableProfiles ? Profiles.none : readProfiles(variables.settings, reading);
  const { keysFile, binPath, dataDir } = settings;
  const config = models && {
    ...settings,
    ...access,
    ...models,
    modelFolders: readFolders(variables.settings, models, reading),
    keysFile: keysFile && at(keysFile),
    binPath: binPath && at(binPath),
    dataDir: at(dataDir),
    profiles,
    strictProfiles,
    notes: reading.notes,
  };
  return { config: deepFreeze(config), problems };
}

/** The key file alone, for the commands that manage it. @throws ConfigError if it is not set. */
export function keysFilePath(env: Env = process.env, folder = process.cwd()): string {
  const file = { ...readDotenv(join(folder, '.env')), ...env }.API_KEYS_FILE?.trim();
  if (file) return resolve(folder, file);
  const message = 'is not set; set it to the file that keys are kept in, such as keys.json';
  throw new ConfigError({ variable: 'API_KEYS_FILE', message });
}

/** The environment with the additions of `.env`, for variables named by the configuration and for workers. */
export function processEnv(folder = process.cwd()): NodeJS.ProcessEnv {
  return { ...readDotenv(join(folder, '.env')), ...process.env };
}

interface Reading {
  readonly folder: string;
  readonly report: (variable: string, message: string) => void;
  readonly problems: readonly Problem[];
  readonly notes: string[];
}

/** The default key is well known, so only this machine may use it. */
function decideAccess(settings: Settings, { report, problems, notes }: Reading) {
  const port = settings.port ?? settings.connectPort ?? 8000;
  const host = settings.host ?? settings.connectHost;
  const isWrong = (variable: string) => problems.some((problem) => problem.variable === variable);
  // The well-known default key is ignored once a key file is configured.
  const defaultKey = settings.keysFile === undefined ? DEFAULT_KEY : '';
  const apiKey = settings.apiKey === DEFAULT_KEY ? defaultKey : (settings.apiKey ?? defaultKey);
  const open = apiKey === '' && settings.keysFile === undefined;
  if (open && host === undefined)
    report('HOST', 'must be set when API_KEY is empty, because anyone who can reach the server may use it');
  if (apiKey !== DEFAULT_KEY) return { host: host ?? (open ? '127.0.0.1' : '0.0.0.0'), port, apiKey, open };
  if (host === undefined || isLoopback(host)) {
    notes.push(
      'API_KEY is the default, so only this machine can reach the server; set your own key to open it',
    );
    return { host: host ?? '127.0.0.1', port, apiKey, open };
  }
  // An invalid API_KEY is reported on its own, because it may just contain a typo.
  if (!isWrong('API_KEY'))
    report('HOST', `only 127.0.0.1 is possible with the default API_KEY; set your own key${unsetHint(host)}`);
  return { host: '127.0.0.1', port, apiKey, open };
}

/** A user who has set no HOST may have one all the same. */
const unsetHint = (host: string): string =>
  isIP(host) === 0 ? `, or unset HOST (${host}), which conda and tcsh set` : '';

/** The configuration file if there is one, otherwise one local model made from the LLM_ variables. */
function readModels(settings: Settings, reading: Reading): Pick<Config, 'file' | 'fileSource'> | undefined {
  const { configFile } = settings;
  const path = resolve(reading.folder, configFile ?? DEFAULT_CONFIG_FILE);
  if (existsSync(path)) return readFile(path, reading);
  if (configFile !== undefined) {
    reading.report('LMSERV_CONFIG', `there is no file ${configFile}; correct the path or unset it`);
    return undefined;
  }
  // `mock` replies without a model, so none is started.
  const models = settings.provider === 'mock' ? {} : readLocalModel(settings, reading);
  return { file: { models, remotes: {}, groups: {}, tenants: {} }, fileSource: undefined };
}

function readFile(path: string, { report }: Reading): Pick<Config, 'file' | 'fileSource'> | undefined {
  try {
    const { text } = readConfigFileSync(path);
    return { file: parseConfigFile(text, path), fileSource: { path, text } };
  } catch (error) {
    if (!(error instanceof ConfigFileError)) throw error;
    for (const issue of error.issues) report(basename(path), describeIssue(issue));
    return undefined;
  }
}

/** Nothing is added to `mock`, which is to reply without a model. */
function readFolders(
  { modelsDir, provider }: Settings,
  { fileSource }: Pick<Config, 'fileSource'>,
  { folder, report }: Reading,
): string[] {
  if (modelsDir === 'off' || (provider === 'mock' && !fileSource)) return [];
  if (modelsDir === undefined) return [MODELS_FOLDER];
  const path = resolve(folder, modelsDir);
  if (!existsSync(path)) report('LLM_MODELS_DIR', `there is no folder ${modelsDir}`);
  return [MODELS_FOLDER, path];
}

function readLocalModel({ modelPath, model }: Settings, reading: Reading): ConfigFile['models'] {
  const path = findModel(modelPath, reading);
  return { [modelId(path)]: { path, aliases: [], lora: [], ...model } };
}

function findModel(modelPath: string | undefined, { folder, report, notes }: Reading): string {
  if (modelPath !== undefined) {
    if (isOnHub(modelPath)) return modelPath;
    const path = resolve(folder, modelPath);
    if (!existsSync(path))
      report('LLM_MODEL_PATH', `there is no file ${modelPath}; get one with npm run model`);
    return path;
  }
  const path = join(ROOT, DEFAULT_MODEL);
  if (existsSync(path)) return path;
  notes.push(`${DEFAULT_MODEL} does not exist: serving the demo model; get a real one with npm run model`);
  return DEMO_MODEL;
}

/** The built-in profile, then those of LLM_CONNECT_PROFILE_FILE, then those of LLM_CONNECT_PROFILES_JSON. */
function readProfiles({ triage, profileFile, profilesJson }: Settings, reading: Reading): Profiles {
  const fromFile =
    profileFile === undefined ? {} : readProfileFile(resolve(reading.folder, profileFile), reading);
  return createProfiles(triage, fromFile, profilesJson ?? {});
}

function readProfileFile(path: string, { report }: Reading): Readonly<Record<string, Profile>> {
  const variable = 'LLM_CONNECT_PROFILE_FILE';
  try {
    const result = profilesJson.safeParse(readTextSync(path).text);
    if (result.success) return result.data;
    for (const message of describeIssues(result.error)) report(variable, message);
  } catch (error) {
    report(variable, `cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return {};
}

/** The id of a model is its file name without `.gguf`, or its repository's name on the hub. */
export function modelId(path: string): string {
  const name = isOnHub(path) ? path.slice(HUB_PREFIX.length).split(':')[0]! : path;
  return name
    .split('/')
    .at(-1)!
    .replace(/\.gguf$/i, '');
}

function deepFreeze<T>(value: T): T {
  // Only plain data is frozen, because a class protects its own fields.
  const guarded = value instanceof Profiles || value instanceof BlockList;
  const plain = value !== null && typeof value === 'object' && !guarded;
  if (plain && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
