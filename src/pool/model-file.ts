import { statSync } from 'node:fs';

/** What tells one state of a file from another without reading it. */
export interface FileStamp {
  /** Bytes. */
  readonly size: number;
  /** ISO 8601. */
  readonly modified: string;
}

/** undefined when there is no such file. */
export function fileStamp(path: string): FileStamp | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && { size: stat.size, modified: stat.mtime.toISOString() };
}

export function isSameFile(a: FileStamp | undefined, b: FileStamp | undefined): boolean {
  return a?.size === b?.size && a?.modified === b?.modified;
}
