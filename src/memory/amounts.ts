/** Bytes by kind of memory: `ram`, the name of a device, or `all` where one number stands for everything. */
export type Amounts = Readonly<Record<string, number>>;

// Memory that `room` does not name is not limited, so what is added to it or taken from it does not name it either.

export function without(room: Amounts, need: Amounts): Amounts {
  return Object.fromEntries(Object.entries(room).map(([kind, bytes]) => [kind, bytes - (need[kind] ?? 0)]));
}

export function withMore(room: Amounts, freed: Amounts): Amounts {
  return Object.fromEntries(Object.entries(room).map(([kind, bytes]) => [kind, bytes + (freed[kind] ?? 0)]));
}

export function sum(parts: Iterable<Amounts>): Amounts {
  const all: Record<string, number> = {};
  for (const part of parts)
    for (const [kind, bytes] of Object.entries(part)) all[kind] = (all[kind] ?? 0) + bytes;
  return all;
}

/** The kinds of memory of which `need` is more than `room`. */
export function shortOf(need: Amounts, room: Amounts): string[] {
  return Object.keys(need).filter((kind) => need[kind]! > (room[kind] ?? Infinity));
}

export function fits(need: Amounts, room: Amounts): boolean {
  return shortOf(need, room).length === 0;
}

/** The larger of both for each kind. */
export function atLeast(amounts: Amounts, floor: Amounts): Amounts {
  const larger: Record<string, number> = { ...amounts };
  for (const [kind, bytes] of Object.entries(floor)) larger[kind] = Math.max(larger[kind] ?? 0, bytes);
  return larger;
}

/** All kinds together. */
export function total(amounts: Amounts): number {
  return Object.values(amounts).reduce((all, bytes) => all + bytes, 0);
}
