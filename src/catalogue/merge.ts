/** Adds the models of the folders to the configuration. Pure. */

import { allNames } from '../config/file/check.js';
import type { ConfigFile, ModelSettings } from '../config/file/schema.js';
import type { Arranged, FoundModel } from './arrange.js';
import type { Unusable } from './look.js';

export interface MergeOptions {
  /** Settings of the models that are not in the configuration. */
  readonly settings: Omit<ModelSettings, 'path' | 'aliases'>;
  /** Names that are in use besides those of the configuration. */
  readonly reserved: readonly string[];
  /** Identities of the files of configured models, by the models' names. */
  readonly identities: ReadonlyMap<string, string>;
  /** A file that is served only if it is configured. */
  readonly demo: string;
}

export interface Merged {
  readonly file: ConfigFile;
  /** Files that are not served, and those that are served under the name of another. */
  readonly unusable: readonly Unusable[];
}

/**
 * The configuration with the models that were found. Names of the configuration are never taken: a file whose name is in
 * use is not served. A file that is served already lends its name to that model as an alias.
 *
 * @param former the last result, which keeps what it knew of a configured file that is not whole now.
 */
export function merge(
  file: ConfigFile,
  { models: found, unusable }: Arranged,
  options: MergeOptions,
  former?: ConfigFile,
): Merged {
  const taken = new Set([...namesOf(file), ...options.reserved, ...DEFAULT_NAMES]);
  const reasons = [...unusable];
  const models: Record<string, ModelSettings> = {};
  const servedAs = new Map<string, string>();
  for (const [name, settings] of Object.entries(file.models)) {
    const identity = options.identities.get(name);
    const own = found.find((model) => model.identity === identity);
    models[name] = own ? withFile(settings, own) : withFile(settings, former?.models[name]);
    if (own && !servedAs.has(own.identity)) servedAs.set(own.identity, name);
  }
  for (const model of found.filter(({ offered }) => offered)) {
    const refuse = (reason: string) => void reasons.push({ shown: model.shown, reason });
    const name = safeName(model.stem);
    const other = servedAs.get(model.identity);
    if (model.path === options.demo) {
      if (other === undefined) refuse('the demo model, which is served by default or when it is configured');
    } else if (name === undefined) refuse('not served: its name has no letters and digits');
    else if (other === undefined && taken.has(name)) refuse(`not served: the name ${name} is in use`);
    else if (other === undefined) {
      const settings = { ...fitting(options.settings, model), found: true } as const;
      models[name] = withFile({ aliases: [], path: model.path, ...settings }, model);
      servedAs.set(model.identity, name);
      taken.add(name);
    } else if (!taken.has(name)) {
      models[other] = { ...models[other]!, aliases: [...models[other]!.aliases, { name }] };
      refuse(`served as ${other}, whose file it is`);
      taken.add(name);
    }
  }
  return { file: { ...file, models, default: file.default ?? firstName(file) }, unusable: reasons };
}

/** Names that mean the default model, whatever files there are. */
const DEFAULT_NAMES = ['default', 'fast', 'quality'];

const namesOf = (file: ConfigFile): string[] => allNames(file).map(({ name }) => name);

/** The name of the default model without the folders, where nothing is called `default`. */
function firstName(file: ConfigFile): string | undefined {
  if (namesOf(file).includes('default')) return undefined;
  return Object.keys({ ...file.models, ...file.remotes })[0];
}

function withFile(
  settings: ModelSettings,
  { revision, mmproj }: Partial<Pick<FoundModel, 'revision' | 'mmproj'>> = {},
): ModelSettings {
  return {
    ...settings,
    ...(revision !== undefined && { revision }),
    ...(mmproj !== undefined && { mmproj }),
  };
}

/** A model does not understand more context than it was trained with, and its file says what it is for. */
function fitting({ task: _, ...settings }: MergeOptions['settings'], { facts }: FoundModel) {
  return { ...settings, context: Math.min(settings.context, facts.trainedContext ?? Infinity) };
}

/** Longest name, characters. */
const MAX_NAME = 128;

/** A file's name as clients may send it: characters that names do not have become hyphens. Undefined if nothing is left. */
export function safeName(stem: string): string | undefined {
  const name = stem
    .normalize('NFKD')
    .replace(/\p{Mark}/gu, '')
    .replace(/[^A-Za-z0-9._@-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, MAX_NAME)
    .replace(/-+$/, '');
  return name || undefined;
}
