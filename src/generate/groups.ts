/** An ordered list of models that serve under one name, with groups to fall back to if all of them fail. */
import { UserError } from '../errors.js';
export interface Group {
  /** Names of models, in the order they are tried. */
  readonly members: readonly string[];
  /** Names of groups that are tried after them, in order. */
  readonly fallback: readonly string[];
}

/** A group names something that does not exist, or refers back to itself. */
export class GroupError extends UserError {
  constructor(
    /** The location: group, field and position. */
    readonly path: readonly (string | number)[],
    message: string,
  ) {
    super(message);
  }
}

/**
 * Lists the models of each group in the order they are tried, including its fallback groups, each model once. Pure.
 *
 * @param isModel whether a name is that of a model.
 * @throws GroupError.
 */
export function flattenGroups(
  groups: ReadonlyMap<string, Group>,
  isModel: (name: string) => boolean,
): Map<string, string[]> {
  for (const [name, group] of groups) checkMembers(name, group, isModel);
  const flat = new Map<string, string[]>();
  for (const name of groups.keys()) modelsOf(name, groups, flat, [], [name]);
  return flat;
}

function checkMembers(name: string, group: Group, isModel: (name: string) => boolean): void {
  group.members.forEach((member, position) => {
    if (isModel(member)) return;
    throw new GroupError([name, 'members', position], `there is no model named ${JSON.stringify(member)}`);
  });
}

/** @param flat groups already resolved, so that a shared fallback is resolved only once. */
function modelsOf(
  name: string,
  groups: ReadonlyMap<string, Group>,
  flat: Map<string, string[]>,
  path: readonly (string | number)[],
  way: readonly string[],
): string[] {
  const known = flat.get(name);
  if (known) return known;
  const group = groups.get(name);
  if (!group) throw new GroupError(path, `there is no group named ${JSON.stringify(name)}`);
  const rest = group.fallback.flatMap((next, position) => {
    const here = [name, 'fallback', position];
    if (way.includes(next)) {
      throw new GroupError(here, `refers back to itself: ${[...way, next].join(' → ')}`);
    }
    return modelsOf(next, groups, flat, here, [...way, next]);
  });
  const models = [...new Set([...group.members, ...rest])];
  flat.set(name, models);
  return models;
}
