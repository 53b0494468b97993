import { flattenGroups, GroupError } from '../../generate/groups.js';
import type { ConfigFile } from './schema.js';

/** A problem at some path of the file. */
export interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** Checks the references between parts of the file: unknown and duplicate names, and circular groups. Pure. */
export function checkNames(file: ConfigFile): Issue[] {
  const names = Object.keys(file.models).concat(Object.keys(file.remotes));
  if (names.length === 0) return [{ path: [], message: 'needs at least one entry in "models" or "remotes"' }];
  return [...checkUnique(file), ...checkGroups(file, new Set(names)), ...checkDefault(file)];
}

function checkUnique(file: ConfigFile): Issue[] {
  const taken = new Map<string, string>();
  return allNames(file).flatMap(({ name, path }) => {
    const other = taken.get(name);
    if (other === undefined) taken.set(name, path.join('.'));
    return other === undefined
      ? []
      : [{ path, message: `duplicate name ${JSON.stringify(name)}, already used by ${other}` }];
  });
}

/** Every name and alias with its path; names before all aliases, so that an alias is reported as the duplicate. */
export function allNames(file: ConfigFile): { name: string; path: PropertyKey[] }[] {
  const entries = [
    ...sectionNames('models', file),
    ...sectionNames('remotes', file),
    ...sectionNames('groups', file),
  ];
  return [
    ...entries.map(({ name, path }) => ({ name, path })),
    ...entries.flatMap(({ path, aliases }) =>
      aliases.map((alias, position) => ({
        name: typeof alias === 'string' ? alias : alias.name,
        path: [...path, 'aliases', position],
      })),
    ),
  ];
}

/** Aliases of models may have defaults of their own. */
type Alias = string | { readonly name: string };

function sectionNames(section: 'models' | 'remotes' | 'groups', file: ConfigFile) {
  const named: Readonly<Record<string, { readonly aliases: readonly Alias[] }>> = file[section];
  return Object.entries(named).map(([name, { aliases }]) => ({ name, path: [section, name], aliases }));
}

function checkGroups(file: ConfigFile, names: ReadonlySet<string>): Issue[] {
  try {
    flattenGroups(new Map(Object.entries(file.groups)), (name) => names.has(name));
    return [];
  } catch (error) {
    if (!(error instanceof GroupError)) throw error;
    return [{ path: ['groups', ...error.path], message: error.message }];
  }
}

function checkDefault(file: ConfigFile): Issue[] {
  const name = file.default;
  if (name === undefined || allNames(file).some((other) => other.name === name)) return [];
  return [{ path: ['default'], message: `there is no model or group named ${JSON.stringify(name)}` }];
}
