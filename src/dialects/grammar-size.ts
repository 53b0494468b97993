/** Groups in one grammar or pattern. A worker reads them by recursion, and 20,000 in one another end it. */
const MAX_GROUPS = 1_000;

/** Parts of a grammar or pattern once its repetitions are written out, which a worker does before its first token. */
const MAX_PARTS = 100_000;

/**
 * Whether a worker can take a grammar (GBNF) or a pattern of a JSON schema. What is in quotes counts as well, and groups
 * count as if all were inside one another, so this errs on the side of refusing; real ones stay far below.
 */
export function isSmallGrammar(text: string): boolean {
  const dense = text.replace(/\s+/g, '');
  if (dense.split('(').length > MAX_GROUPS) return false;
  let parts = dense.length;
  let times = 1;
  for (const [, group, least, most] of dense.matchAll(/(\)?)\{(\d+)(?:,(\d*))?\}/g)) {
    const count = Math.max(1, Number(least), Number(most ?? 0));
    if (group) times *= count;
    else parts += count;
  }
  // A long text without repetitions is as long as it is.
  return parts === dense.length || parts * times <= MAX_PARTS;
}
