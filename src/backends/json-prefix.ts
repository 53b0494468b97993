/**
 * One way on from a symbol: the characters that it reads, as a class of regular expressions and of llama.cpp's grammars,
 * and the symbols that follow. With '' it reads nothing.
 */
type Step = readonly [characters: string, ...follow: string[]];

/** JSON, so that the first character always tells the step. */
const JSON_STEPS: Readonly<Record<string, readonly Step[]>> = {
  ws: [['[ \\t\\n\\r]', 'ws'], ['']],
  value: [
    ['["]', 'characters'],
    ['[{]', 'ws', 'members'],
    ['[\\[]', 'ws', 'items'],
    ['[\\-]', 'integer', 'fraction', 'exponent'],
    ['[0]', 'fraction', 'exponent'],
    ['[1-9]', 'digits', 'fraction', 'exponent'],
    ['[t]', 'r', 'u', 'e'],
    ['[f]', 'a', 'l', 's', 'e'],
    ['[n]', 'u', 'l', 'l'],
  ],
  members: [['[}]'], ['', 'pair']],
  pair: [['["]', 'characters', 'ws', 'colon', 'ws', 'value', 'ws', 'pairs']],
  colon: [['[:]']],
  pairs: [['[}]'], ['[,]', 'ws', 'pair']],
  items: [['[\\]]'], ['', 'value', 'ws', 'more-items']],
  'more-items': [['[\\]]'], ['[,]', 'ws', 'value', 'ws', 'more-items']],
  characters: [['["]'], ['[\\\\]', 'escaped', 'characters'], ['[^"\\\\\\x00-\\x1F]', 'characters']],
  escaped: [['["\\\\/bfnrt]'], ['[u]', 'hex', 'hex', 'hex', 'hex']],
  hex: [['[0-9a-fA-F]']],
  integer: [['[0]'], ['[1-9]', 'digits']],
  digits: [['[0-9]', 'digits'], ['']],
  digit: [['[0-9]']],
  fraction: [['[.]', 'digit', 'digits'], ['']],
  exponent: [['[eE]', 'sign', 'digit', 'digits'], ['']],
  sign: [['[+\\-]'], ['']],
  ...Object.fromEntries([...'aelrsu'].map((letter) => [letter, [[`[${letter}]`]]])),
};

/** No character from here on is in a class of its own. */
const BEYOND = 0x80;

/** For each symbol the step of each character, the last one of all from BEYOND on. */
const STEPS = new Map(Object.entries(JSON_STEPS).map(([symbol, steps]) => [symbol, stepTable(steps)]));

/** White space that a model may write: as much as in llama.cpp's grammars of schemas, or it might write nothing else. */
const FEW_SPACES = '( " " | "\\n" [ \\t]{0,20} )?';

/** Reads a text as long as it is the beginning of a JSON text. */
export class JsonPrefix {
  /** Symbols that must follow, the next one last. */
  readonly #expected = ['ws', 'value', 'ws'];

  /** Reads on. Returns false, and can read no further, if the text does not begin a JSON text any more. */
  add(text: string): boolean {
    for (let at = 0; at < text.length;) {
      const symbol = this.#expected.pop();
      const taken = symbol && STEPS.get(symbol)![Math.min(text.charCodeAt(at), BEYOND)];
      if (!taken) return false;
      for (const next of taken.expects) this.#expected.push(next);
      if (taken.reads) at += 1;
    }
    return true;
  }

  /** Whether the text is JSON as it is. */
  get isWhole(): boolean {
    return this.#expected.every((symbol) => JSON_STEPS[symbol]!.some((step) => step.join('') === ''));
  }

  /** The least that makes JSON of the text. */
  get completion(): string {
    return this.#expected
      .toReversed()
      .map((symbol) => LEAST[symbol] ?? '')
      .join('');
  }

  /**
   * The grammar, as llama.cpp reads it, of all that makes JSON of the text.
   *
   * @param keys what the keys that follow in the outermost object must be; undefined allows any.
   */
  grammar(keys?: readonly string[]): string {
    // The first symbol is the white space behind the outermost value.
    const outer = OUTER[this.#expected[1] ?? ''];
    const bounded = keys !== undefined && outer !== undefined;
    const root = bounded ? this.#expected.with(1, outer).toReversed() : this.#expected.toReversed();
    const rules = Object.entries(JSON_STEPS).map(
      ([symbol, steps]) => `${symbol} ::= ${ruleOf(symbol, steps)}`,
    );
    return [`root ::= ${root.join(' ')}`, ...rules, ...(bounded ? outerRules(keys) : [])].join('\n');
  }
}

/** The shortest text of each symbol that cannot be empty. */
const LEAST: Readonly<Record<string, string>> = {
  ...{ value: '0', members: '}', pair: '"":0}', colon: ':', pairs: '}', items: ']', 'more-items': ']' },
  ...{ characters: '"', escaped: 'n', hex: '0', integer: '0', digit: '0' },
  ...Object.fromEntries([...'aelrsu'].map((letter) => [letter, letter])),
};

/** The symbols of the outermost object, and their names where its keys are bounded. */
const OUTER: Readonly<Record<string, string>> = {
  members: 'outer-members',
  pair: 'outer-pair',
  pairs: 'outer-pairs',
};

function outerRules(keys: readonly string[]): string[] {
  if (keys.length === 0) return ['outer-members ::= "}"', 'outer-pairs ::= "}"', 'outer-pair ::= pair'];
  // A key as JSON, as a text of the grammar.
  const names = keys.map((key) => JSON.stringify(JSON.stringify(key))).join(' | ');
  return [
    'outer-members ::= "}" | outer-pair',
    'outer-pairs ::= "}" | "," ws outer-pair',
    `outer-pair ::= (${names}) ws colon ws value ws outer-pairs`,
  ];
}

function ruleOf(symbol: string, steps: readonly Step[]): string {
  if (symbol === 'ws') return FEW_SPACES;
  return steps.map((step) => step.join(' ').trim() || '""').join(' | ');
}

/** A step as it is taken for one character. */
interface Taken {
  readonly reads: boolean;
  /** The symbols that follow, the next one last. */
  readonly expects: readonly string[];
}

function stepTable(steps: readonly Step[]): (Taken | undefined)[] {
  const taken = steps.map(([characters, ...follow]) => {
    return { pattern: new RegExp(characters), reads: characters !== '', expects: follow.toReversed() };
  });
  return Array.from({ length: BEYOND + 1 }, (_, code) =>
    taken.find(({ pattern }) => pattern.test(String.fromCharCode(code))),
  );
}
