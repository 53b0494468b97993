import { parse } from 'dotenv';
import { readTextSync } from './read-text.js';

/** Stands for a `#` that belongs to a value while the file is parsed. A text has none. */
const HASH = '\0';

/**
 * The variables in a dotenv file; none where there is no such file. The last one of a name counts.
 *
 * @param onUnreadable gets the reason when the file cannot be read, which then counts as empty.
 */
export function readDotenv(
  file: string,
  onUnreadable: (reason: string) => void = () => undefined,
): Record<string, string> {
  const text = readIfPossible(file, onUnreadable);
  if (text.includes(HASH)) {
    onUnreadable('is not plain text; save it as UTF-8');
    return {};
  }
  const variables = Object.entries(parse(keepHashes(text)));
  return Object.fromEntries(variables.map(([name, value]) => [name, value.replaceAll(HASH, '#')]));
}

function readIfPossible(file: string, onUnreadable: (reason: string) => void): string {
  try {
    return readTextSync(file).text;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') onUnreadable(`cannot be read (${code})`);
    return '';
  }
}

/**
 * dotenv would end an unquoted value at any `#`, and so make a short key of a long one. As in a shell, only white space
 * or a closing quote before it makes it a comment.
 */
function keepHashes(text: string): string {
  return text.replace(/(?<=\S)(?<!=[ \t]*\1[^\n]*(["'`]))#/g, HASH);
}
