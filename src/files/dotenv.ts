import { parse } from 'dotenv';
import { readTextSync } from './read-text.js';

/**
 * The variables in a dotenv file; none where there is no such file.
 *
 * @param onUnreadable gets the reason when the file cannot be read, which then counts as empty.
 */
export function readDotenv(
  file: string,
  onUnreadable: (reason: string) => void = () => undefined,
): Record<string, string> {
  try {
    return parse(readTextSync(file).text);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') onUnreadable(`cannot be read (${code})`);
    return {};
  }
}
