import type { Level } from './finding.js';
import type { Line } from './run.js';

/** Control characters, which a model's name or an error may hold, would write to the terminal. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

/** One line a finding and one for the sum. Pure. */
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
    ...{ level, check, found: show(found) },
    ...(todo === undefined ? {} : { todo: show(todo) }),
  }));
  return `${JSON.stringify({ ok: succeeded(lines), checks }, null, 2)}\n`;
}

export const succeeded = (lines: readonly Line[]): boolean => lines.every(({ level }) => level !== 'fail');

/** No check shows a key; should one stand where no key belongs, a path or a host, it is taken out here. */
function shower(secrets: readonly string[]): (text: string) => string {
  const longestFirst = [...secrets].sort((a, b) => b.length - a.length);
  return (text) =>
    longestFirst.reduce((rest, secret) => rest.replaceAll(secret, '[hidden]'), text).replace(CONTROL, ' ');
}
