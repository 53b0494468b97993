/** Max groups in a grammar or pattern. A worker parses them by recursion, and 20,000 nested groups crash it. */
const MAX_GROUPS = 1_000;

/** Max parts of a grammar or pattern with its repetitions expanded, which a worker does before its first token. */
const MAX_PARTS = 100_000;

/**
 * Whether a grammar (GBNF) or a pattern in a JSON schema is small enough for a worker. Quoted text counts as well, and
 * groups count as if they were all nested, so this may refuse too much; real grammars stay far below the limits.
 */
export function isSmallGrammar(text: string): boolean {
  return text.split('(').length <= MAX_GROUPS && grammarParts(text) <= MAX_PARTS;
}

/** The number of parts of a grammar or pattern with its repetitions expanded; white space does not count. */
export function grammarParts(text: string): number {
  const dense = text.replace(/\s+/g, '');
  let parts = dense.length;
  let times = 1;
  for (const [, group, min, max] of dense.matchAll(/(\)?)\{0*(\d{1,9})(?:,0*(\d{0,9}))?\}/g)) {
    const count = Math.max(1, Number(min), Number(max ?? 0));
    if (group) times *= count;
    else parts += count;
  }
  return parts * times;
}
