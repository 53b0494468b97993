/** Groups in one grammar or pattern. A worker reads them by recursion, and 20,000 in one another end it. */
const MAX_GROUPS = 1_000;

/** Parts of a grammar or pattern once its repetitions are written out, which a worker does before its first token. */
const MAX_PARTS = 100_000;

/**
 * Whether a worker can take a grammar (GBNF) or a pattern of a JSON schema. What is in quotes counts as well, and groups
 * count as if all were inside one another, so this errs on the side of refusing; real ones stay far below.
 */
export function isSmallGrammar(text: string): boolean {
  return text.split('(').length <= MAX_GROUPS && grammarParts(text) <= MAX_PARTS;
}

/** How many parts a grammar or pattern has once its repetitions are written out; white space does not count. */
export function grammarParts(text: string): number {
  const dense = text.replace(/\s+/g, '');
  let parts = dense.length;
  let times = 1;
  for (const [, group, least, most] of dense.matchAll(/(\)?)\{0*(\d{1,9})(?:,0*(\d{0,9}))?\}/g)) {
    const count = Math.max(1, Number(least), Number(most ?? 0));
    if (group) times *= count;
    else parts += count;
  }
  return parts * times;
}
