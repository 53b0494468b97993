/** A JSON text without its long strings. */
export interface Shortened {
  readonly json: Buffer;
  /** What each mark in it stands for. */
  readonly strings?: ReadonlyMap<string, string>;
}

/** Strings of at least this size are taken out, bytes. */
const LONG = 8_192;

/** A string of that size covers one of the places that are this far from each other. */
const STEP = LONG / 2;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Takes the long strings of base64 out of a JSON text: decoding and parsing an image of 20 MB takes a third of a second
 * and two more copies of it. A text that is not JSON stays one that is not.
 *
 * @param newMark makes a text that occurs nowhere else, and needs no escapes.
 * @param pause resolves when the next piece of work may be done.
 */
export async function shorten(
  bytes: Buffer,
  newMark: () => string,
  pause: () => Promise<unknown>,
): Promise<Shortened> {
  const parts: Buffer[] = [];
  const strings = new Map<string, string>();
  let kept = 0;
  for (let at = STEP; at < bytes.length; at += STEP) {
    const close = bytes.indexOf(QUOTE, at);
    if (close < 0) break;
    const before = bytes.subarray(at - STEP, at).lastIndexOf(QUOTE);
    const open = at - STEP + before;
    const isLong = before >= 0 && close - open > LONG && bytes[open - 1] !== BACKSLASH;
    const inside = bytes.subarray(open + 1, close);
    // Between two strings there is more than base64, so this is one.
    const text = isLong && (await isBase64(inside, pause)) ? unescaped(inside.toString('latin1')) : undefined;
    if (text !== undefined) {
      const mark = newMark();
      strings.set(mark, text);
      parts.push(bytes.subarray(kept, open + 1), Buffer.from(mark));
      kept = close;
      await pause();
    }
    at = close - (close % STEP);
  }
  parts.push(bytes.subarray(kept));
  return { json: Buffer.concat(parts), strings };
}

/** Bytes that are looked at without a pause. */
const PIECE = 1_048_576;

/** Whether a string is base64, or a data URL of it, apart from escapes and line ends. */
async function isBase64(string: Buffer, pause: () => Promise<unknown>): Promise<boolean> {
  const [head = ''] = /^data:[\w/.+\\-]{1,128};base64,/.exec(string.toString('latin1', 0, 256)) ?? [];
  for (let at = head.length; at < string.length; at += PIECE) {
    if (/[^\w+/=\\-]/.test(string.toString('latin1', at, at + PIECE))) return false;
    await pause();
  }
  return true;
}

/** PHP writes slashes with escapes, .NET plus signs, and MIME has line ends. @returns undefined for what is no JSON string. */
function unescaped(inside: string): string | undefined {
  if (!inside.includes('\\')) return inside;
  try {
    return JSON.parse(`"${inside}"`) as string;
  } catch {
    return undefined;
  }
}
