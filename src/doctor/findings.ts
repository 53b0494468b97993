/** What a check found, and how it is printed. */

import { compact } from '../compact.js';

export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly level: Level;
  /** What is there, in words and numbers; never a key. */
  readonly found: string;
  /** What to do about it. */
  readonly todo?: string;
}

/** A finding with the name of its check. */
export interface Line extends Finding {
  readonly check: string;
}

const finding = (level: Level, found: string, todo: string | undefined): Finding =>
  compact({ level, found, todo });

export const ok = (found: string, todo?: string): Finding => finding('ok', found, todo);

/** It runs, but not as well or as safely as it could. */
export const warn = (found: string, todo: string): Finding => finding('warn', found, todo);

/** The server will not start, or not answer. */
export const fail = (found: string, todo?: string): Finding => finding('fail', found, todo);

/** Control characters, which a model's name or an error may hold, could rewrite the terminal. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

/** One line per finding and one with the totals. Pure. */
export function formatText(lines: readonly Line[], secrets: readonly string[]): string {
  const show = shower(secrets);
  const rows = lines.map(({ level, check, found, todo }) =>
    [`${level.padEnd(5)} ${check}`, show(found), ...(todo === undefined ? [] : [show(todo)])].join(' – '),
  );
  const count = (level: Level) => lines.filter((line) => line.level === level).length;
  return `${[...rows, '', `${count('fail')} failed, ${count('warn')} to look at, ${count('ok')} in order`].join('\n')}\n`;
}

/** `{ok, checks: [{level, check, found, todo?}]}`. Pure. */
export function formatJson(lines: readonly Line[], secrets: readonly string[]): string {
  const show = shower(secrets);
  const checks = lines.map(({ level, check, found, todo }) => ({
    level,
    check,
    found: show(found),
    todo: todo && show(todo),
  }));
  return `${JSON.stringify({ ok: succeeded(lines), checks }, null, 2)}\n`;
}

export const succeeded = (lines: readonly Line[]): boolean => lines.every(({ level }) => level !== 'fail');

/** No check shows a key; this hides one that ended up in a path or a host by mistake. */
function shower(secrets: readonly string[]): (text: string) => string {
  const longestFirst = [...secrets].sort((a, b) => b.length - a.length);
  return (text) =>
    longestFirst.reduce((rest, secret) => rest.replaceAll(secret, '[hidden]'), text).replace(CONTROL, ' ');
}
