import { statSync } from 'node:fs';

/** What tells one state of a file from another without reading it. */
export type FileStamp =
  | {
      /** Bytes. */
      readonly size: number;
      /** ISO 8601. */
      readonly modified: string;
    }
  /** Why there is none, e.g. `ENOENT`. */
  | { readonly error: string };

/** Never throws: a path may stop to be readable at any time. */
export function fileStamp(path: string): FileStamp {
  try {
    const { size, mtime } = statSync(path);
    return { size, modified: mtime.toISOString() };
  } catch (error) {
    return { error: (error as NodeJS.ErrnoException).code ?? 'unknown' };
  }
}

export function isSameFile(a: FileStamp | undefined, b: FileStamp): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
