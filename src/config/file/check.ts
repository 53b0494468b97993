import { flattenGroups, GroupError } from '../../generate/groups.js';
import type { ConfigFile } from './schema.js';

/** Something wrong at a place of the file. */
export interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** What one part of the file says of another: names that are there, taken once, and groups that come to an end. Pure. */
export function checkNames(file: ConfigFile): Issue | undefined {
  const names = Object.keys(file.models).concat(Object.keys(file.remotes));
  if (names.length === 0) {
    return { path: [], message: 'needs at least one entry in "models" or "remotes"' };
  }
  return checkUnique(file) ?? checkGroups(file, new Set(names)) ?? checkDefault(file);
}

function checkUnique(file: ConfigFile): Issue | undefined {
  const taken = new Map<string, string>();
  for (const { name, path } of allNames(file)) {
    const at = path.join('.');
    const other = taken.get(name);
    if (other !== undefined) return { path, message: `${JSON.stringify(name)} is the name of ${other} too` };
    taken.set(name, at);
  }
  return undefined;
}

/** Every name and alias with its place; a name's own before all aliases, so that those are told as the double ones. */
function allNames(file: ConfigFile): { name: string; path: PropertyKey[] }[] {
  const entries = [
    ...sectionNames('models', file),
    ...sectionNames('remotes', file),
    ...sectionNames('groups', file),
  ];
  return [
    ...entries.map(({ name, path }) => ({ name, path })),
    ...entries.flatMap(({ path, aliases }) =>
      aliases.map((alias, position) => ({ name: alias, path: [...path, 'aliases', position] })),
    ),
  ];
}

function sectionNames(section: 'models' | 'remotes' | 'groups', file: ConfigFile) {
  const named: Readonly<Record<string, { readonly aliases: readonly string[] }>> = file[section];
  return Object.entries(named).map(([name, { aliases }]) => ({ name, path: [section, name], aliases }));
}

function checkGroups(file: ConfigFile, names: ReadonlySet<string>): Issue | undefined {
  try {
    flattenGroups(new Map(Object.entries(file.groups)), (name) => names.has(name));
    return undefined;
  } catch (error) {
    if (!(error instanceof GroupError)) throw error;
    return { path: ['groups', ...error.path], message: error.message };
  }
}

function checkDefault(file: ConfigFile): Issue | undefined {
  const { default: standard } = file;
  if (standard === undefined || allNames(file).some(({ name }) => name === standard)) return undefined;
  return { path: ['default'], message: `there is no model or group named ${JSON.stringify(standard)}` };
}
