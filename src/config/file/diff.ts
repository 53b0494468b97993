import { isDeepStrictEqual } from 'node:util';
import type { ConfigFile } from './schema.js';

/** What becomes of each model and remote when one configuration takes the place of another. Names in file order. */
export interface SectionDiff {
  /** Same settings: the running backend is kept. */
  readonly unchanged: readonly string[];
  readonly added: readonly string[];
  /** Still there with other settings: a new backend takes the place of the old one. */
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

export interface ConfigDiff {
  readonly models: SectionDiff;
  readonly remotes: SectionDiff;
}

/** Settings that the running backend knows nothing of. */
const NOT_THE_BACKENDS = ['aliases', 'price', 'maxTokens', 'maxTokensCap', 'provider'] as const;

/** Compares two configurations by what their backends are made from. Pure. */
export function diffConfig(old: ConfigFile, next: ConfigFile): ConfigDiff {
  return {
    models: diffSection(old.models, next.models),
    remotes: diffSection(old.remotes, next.remotes),
  };
}

function diffSection(
  old: Readonly<Record<string, object>>,
  next: Readonly<Record<string, object>>,
): SectionDiff {
  const before = new Map(Object.entries(old));
  const after = new Map(Object.entries(next));
  const both = [...after.keys()].filter((name) => before.has(name));
  const same = (name: string) => isDeepStrictEqual(ofBackend(before.get(name)!), ofBackend(after.get(name)!));
  return {
    unchanged: both.filter(same),
    added: [...after.keys()].filter((name) => !before.has(name)),
    changed: both.filter((name) => !same(name)),
    removed: [...before.keys()].filter((name) => !after.has(name)),
  };
}

function ofBackend(settings: object): object {
  const rest: Record<string, unknown> = { ...settings };
  for (const field of NOT_THE_BACKENDS) delete rest[field];
  return rest;
}
