/** A vocabulary for a SentencePiece tokeniser: single bytes, letters, syllables, and words made of syllables. */

/** llama.cpp's numbers for the types of tokens. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

/** How SentencePiece writes a space. */
const SPACE = '\u2581';

const CONSONANTS = [...'bcdfghjklmnprstvwxyz'];
const VOWELS = [...'aeiou'];
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz', SPACE];

export interface Vocabulary {
  readonly tokens: readonly string[];
  /** Pieces with a higher one are merged first. */
  readonly scores: readonly number[];
  readonly types: readonly number[];
  /** Tokens before this one are no words: control tokens and bytes. */
  readonly firstWord: number;
}

const SPECIAL = [
  { token: '<unk>', type: UNKNOWN },
  { token: '<s>', type: CONTROL },
  { token: '</s>', type: CONTROL },
];
const BYTES = Array.from({ length: 256 }, (_, byte) => ({
  token: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  type: BYTE,
}));

export const TOKEN_IDS = { unknown: 0, begin: 1, end: 2 } as const;

/** Pieces from short to long, so that all parts of a longer one come before it. */
function* pieces(): Generator<string> {
  const syllables = CONSONANTS.flatMap((consonant) => VOWELS.map((vowel) => consonant + vowel));
  const pairs = syllables.flatMap((first) => syllables.map((second) => first + second));
  yield* LETTERS;
  yield* syllables;
  yield* syllables.map((syllable) => SPACE + syllable);
  yield* pairs;
  yield* pairs.map((pair) => SPACE + pair);
  for (const pair of pairs) yield* syllables.map((syllable) => SPACE + pair + syllable);
}

/** @param size tokens in all, bytes and control tokens included */
export function makeVocabulary(size: number): Vocabulary {
  const fixed = [...SPECIAL, ...BYTES];
  const entries = [...fixed];
  for (const token of pieces()) {
    if (entries.length === size) break;
    entries.push({ token, type: NORMAL });
  }
  return {
    tokens: entries.map(({ token }) => token),
    scores: entries.map(({ type }, id) => (type === NORMAL ? -id : 0)),
    types: entries.map(({ type }) => type),
    firstWord: fixed.length,
  };
}
