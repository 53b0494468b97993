/** What a check has to say. */

export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly level: Level;
  /** What is there, in words and numbers; never a key. */
  readonly found: string;
  /** What to do about it. */
  readonly todo?: string;
}

const finding = (level: Level, found: string, todo: string | undefined): Finding => ({
  level,
  found,
  ...(todo === undefined ? {} : { todo }),
});

export const ok = (found: string, todo?: string): Finding => finding('ok', found, todo);

/** It runs, but not as well or as safely as it could. */
export const warn = (found: string, todo: string): Finding => finding('warn', found, todo);

/** The server will not start, or not answer. */
export const fail = (found: string, todo?: string): Finding => finding('fail', found, todo);
