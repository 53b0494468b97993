/** From a configuration file to the registry that requests are looked up in. */

import type { Backend } from '../contract.js';
import { Registry, type GroupEntry, type RegistryEntry } from '../generate/registry.js';
import { diffConfig } from '../config/file/diff.js';
import type { ConfigFile, ModelSettings, RemoteSettings } from '../config/file/schema.js';

/** Names that the four systems' clients send, which the default serves when nothing else has them. */
const STANDARD_NAMES = ['default', 'fast', 'quality'] as const;

/** What no limit is set to: the largest number llama.cpp reads. */
const NO_CAP = 2_147_483_647;

/** A backend as it was made, not yet started. */
export interface Made {
  readonly backend: Backend;
  /** Unix time of the model, seconds, for `/v1/models`. */
  readonly created: number;
}

export interface BuildOptions {
  readonly makeLocal: (name: string, model: ModelSettings) => Made | Promise<Made>;
  readonly makeRemote: (name: string, remote: RemoteSettings) => Made | Promise<Made>;
  readonly unknownModel: '404' | 'default';
  /** Where the file says nothing: MAX_TOKENS. */
  readonly maxTokens: number;
  /** Where the file says nothing: MAX_TOKENS_CAP; undefined is the context of the model. */
  readonly maxTokensCap: number | undefined;
  /** Models that the file knows nothing of: backends of the program's own, the mock. */
  readonly extra?: readonly RegistryEntry[] | undefined;
  /** The name for requests that name none, going before the file's. */
  readonly standard?: string | undefined;
  /** What was built before: its backends whose settings are the same are kept. */
  readonly previous?: Built | undefined;
}

/** One of the file's models or remotes with its backend. */
interface Part {
  readonly made: Made;
  readonly backend: Backend;
}

export interface Built {
  readonly file: ConfigFile;
  readonly registry: Registry;
  /** By place in the file: `models.gemma`, `remotes.gpt`. */
  readonly parts: ReadonlyMap<string, Part>;
  /** All that serve, in the order of the file. */
  readonly backends: readonly Backend[];
  /** Those among them that are new: to be started. */
  readonly added: readonly Backend[];
  /** Those of before that no longer serve: to be stopped. `stop(graceMs)` lets their replies finish first. */
  readonly retired: readonly Backend[];
}

/**
 * Makes the backends and the registry of a file. Nothing is started, and of `previous` nothing is changed.
 *
 * @throws what `makeLocal` and `makeRemote` throw, after those made so far are stopped.
 */
export async function buildRegistry(file: ConfigFile, options: BuildOptions): Promise<Built> {
  const kept = keptParts(file, options.previous);
  const parts = new Map<string, Part>();
  try {
    for (const [place, make] of makers(file, options))
      parts.set(place, kept.get(place) ?? part(await make()));
  } catch (error) {
    const fresh = [...parts].filter(([place]) => !kept.has(place));
    await Promise.all(fresh.map(([, { backend }]) => backend.stop(0)));
    throw error;
  }
  const old = [...(options.previous?.parts ?? [])];
  return {
    file,
    registry: makeRegistry(file, parts, options),
    parts,
    backends: [...parts.values()].map(({ backend }) => backend),
    added: [...parts].filter(([place]) => !kept.has(place)).map(([, { backend }]) => backend),
    retired: old.filter(([place]) => !kept.has(place)).map(([, { backend }]) => backend),
  };
}

function part(made: Made): Part {
  return { made, backend: made.backend };
}

function keptParts(file: ConfigFile, previous: Built | undefined): ReadonlyMap<string, Part> {
  if (!previous) return new Map();
  const diff = diffConfig(previous.file, file);
  const places = (['models', 'remotes'] as const).flatMap((section) =>
    diff[section].unchanged.map((name) => `${section}.${name}`),
  );
  return new Map(places.map((place) => [place, previous.parts.get(place)!]));
}

function makers(file: ConfigFile, options: BuildOptions): Map<string, () => Made | Promise<Made>> {
  const { makeLocal, makeRemote } = options;
  return new Map([
    ...Object.entries(file.models).map(
      ([name, model]) => [`models.${name}`, () => makeLocal(name, model)] as const,
    ),
    ...Object.entries(file.remotes).map(
      ([name, remote]) => [`remotes.${name}`, () => makeRemote(name, remote)] as const,
    ),
  ]);
}

function makeRegistry(file: ConfigFile, parts: ReadonlyMap<string, Part>, options: BuildOptions): Registry {
  const entries = [
    ...Object.entries(file.models).map(([name, model]) => ({
      ...entry(name, model, parts.get(`models.${name}`)!, file, options, model.context),
      providers: ['local'],
    })),
    ...Object.entries(file.remotes).map(([name, remote]) => ({
      ...entry(name, remote, parts.get(`remotes.${name}`)!, file, options, NO_CAP),
      providers: ['cloud', remote.provider ?? name],
      upstream: remote.model,
    })),
    ...(options.extra ?? []),
  ];
  const groups = Object.entries(file.groups).map(([name, group]) => ({
    ...{ name, members: group.members, fallback: group.fallback, aliases: group.aliases },
    firstTokenMs: group.firstTokenSecs * 1000,
  }));
  const standard = standardName(options.standard ?? file.default ?? 'default', entries, groups);
  return new Registry(withStandardNames(entries, standard, entries, groups), options.unknownModel, {
    groups: withStandardNames(groups, standard, entries, groups),
    standard,
  });
}

function entry(
  name: string,
  settings: ModelSettings | RemoteSettings,
  { made, backend }: Part,
  file: ConfigFile,
  options: BuildOptions,
  most: number,
): RegistryEntry {
  const { aliases, price } = settings;
  return {
    info: { id: name, created: made.created, ownedBy: 'lmserv' },
    aliases,
    backends: [backend],
    maxTokens: {
      standard: settings.maxTokens ?? file.maxTokens ?? options.maxTokens,
      cap: settings.maxTokensCap ?? file.maxTokensCap ?? options.maxTokensCap ?? most,
    },
    price: price && { promptPer1k: price.prompt, completionPer1k: price.completion },
  };
}

type Named = RegistryEntry | GroupEntry;

const idOf = (named: Named): string => ('info' in named ? named.info.id : named.name);

const namesOf = (named: Named): string[] => [idOf(named), ...named.aliases];

/** The name requests without one go to: as the file says, else whatever is called `default`, else the first model. */
function standardName(
  wanted: string,
  entries: readonly RegistryEntry[],
  groups: readonly GroupEntry[],
): string {
  const found = [...entries, ...groups].find((named) => namesOf(named).includes(wanted));
  return idOf(found ?? entries[0]!);
}

/** Gives the default those of the standard names that nothing has. */
function withStandardNames<T extends Named>(
  list: readonly T[],
  standard: string,
  entries: readonly RegistryEntry[],
  groups: readonly GroupEntry[],
): T[] {
  const taken = new Set([...entries, ...groups].flatMap(namesOf));
  const free = STANDARD_NAMES.filter((name) => !taken.has(name));
  return list.map((named) =>
    idOf(named) === standard ? { ...named, aliases: [...named.aliases, ...free] } : named,
  );
}
