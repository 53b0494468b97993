/** `GET /usage`: its query and its two forms, JSON and CSV. Pure. */

import { LMServError } from '../../errors.js';
import { dayOf, type Day } from './day.js';
import { addCounts, COUNTS, noCounts, type UsageCounts } from './entry.js';
import { formatNano } from './money.js';
import type { UsageRow } from './pages.js';

/** The form of a report, JSON unless asked otherwise. */
export type UsageFormat = 'json' | 'csv';

/** A report as text, a page at a time. The total is that of the rows in it, exact to the last digit. */
export function* usageText(format: UsageFormat, pages: Iterable<UsageRow[]>): Generator<string, void> {
  yield* format === 'csv' ? csvText(pages) : jsonText(pages);
}

function* jsonText(pages: Iterable<UsageRow[]>): Generator<string, void> {
  const total = noCounts();
  let before = '{"usage":[';
  for (const page of pages) {
    let text = '';
    for (const row of page) {
      addCounts(total, row);
      const { tenant, model, day } = row;
      text += `${before}${JSON.stringify({ tenant, model, day }).slice(0, -1)},${jsonCounts(row)}}`;
      before = ',';
    }
    yield text;
  }
  yield `${before === ',' ? '' : before}],"total":{${jsonCounts(total)}}}`;
}

/** Written digit by digit: a number of JavaScript holds 16 of them. `cost` is in the currency of the prices. */
function jsonCounts(counts: UsageCounts): string {
  return COUNTS.map((name) => `"${REPORTED[name]}":${written(counts, name)}`).join(',');
}

/** What the columns are called in a report. */
const REPORTED = {
  requests: 'requests',
  promptTokens: 'prompt_tokens',
  completionTokens: 'completion_tokens',
  costNano: 'cost',
  cancelled: 'cancelled',
  broken: 'broken',
  refused: 'refused',
} as const satisfies Record<keyof UsageCounts, string>;

function written(counts: UsageCounts, name: keyof UsageCounts): string {
  return name === 'costNano' ? formatNano(counts.costNano) : String(counts[name]);
}

/** RFC 4180: a header line, then a line a row, each ended by CR LF. */
function* csvText(pages: Iterable<UsageRow[]>): Generator<string, void> {
  yield `tenant,model,day,${Object.values(REPORTED).join(',')}\r\n`;
  for (const page of pages) yield page.map(csvLine).join('');
}

function csvLine(row: UsageRow): string {
  const counts = COUNTS.map((name) => written(row, name));
  return `${[csvCell(row.tenant), csvCell(row.model), row.day, ...counts].join(',')}\r\n`;
}

/** A spreadsheet takes a cell that begins so for a formula, and a tenant's name is the client's choice. */
const FORMULA = /^\s*[=+\-@＝＋－＠]|^[\t\r\n]/;

/** Where `;` separates cells, one begins after it: the quotes of a cell that is not the first count for nothing there. */
const LATER_FORMULA = /;(?=\s*[=+\-@＝＋－＠])/g;

/** An apostrophe keeps a name from being run as a formula. */
function csvCell(text: string): string {
  const plain = text.replaceAll(LATER_FORMULA, ";'");
  const safe = FORMULA.test(plain) ? `'${plain}` : plain;
  return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const DAY = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+ -]\d{2}:\d{2})?)?$/;

/** The UTC day of a date or an ISO time; undefined when it is neither, or a day that no calendar has. */
function parseDay(text: string): Day | undefined {
  const [, date, time, zone = 'Z'] = DAY.exec(text) ?? [];
  const midnight = Date.parse(`${date}T00:00:00Z`);
  if (date === undefined || Number.isNaN(midnight) || dayOf(midnight) !== date) return undefined;
  if (time === undefined) return date;
  // A plus in a URL that was not escaped arrives as a space.
  const moment = Date.parse(`${date}T${time}${zone.replace(' ', '+')}`);
  const day = Number.isNaN(moment) ? '' : dayOf(moment);
  return DAY.test(day) ? day : undefined;
}

function queryDay(value: unknown, param: string): Day | undefined {
  if (value === undefined) return undefined;
  const day = typeof value === 'string' ? parseDay(value) : undefined;
  if (day !== undefined) return day;
  throw new LMServError('invalid_value', `${param} must be a day such as 2025-01-31 or an ISO time`, {
    param,
  });
}

/**
 * The days of a report, both included. A time is taken to UTC, one without a zone is UTC already, and counts as the
 * day it is in.
 *
 * @throws LMServError `invalid_value` naming `from` or `to`.
 */
export function usageRange(query: { from?: unknown; to?: unknown }): {
  from: Day | undefined;
  to: Day | undefined;
} {
  const from = queryDay(query.from, 'from');
  const to = queryDay(query.to, 'to');
  if (from !== undefined && to !== undefined && from > to) {
    throw new LMServError('invalid_value', 'from must not be later than to', { param: 'from' });
  }
  return { from, to };
}

/**
 * The form of a report, JSON unless asked otherwise.
 *
 * @throws LMServError `invalid_value`.
 */
export function usageFormat(value: unknown): UsageFormat {
  if (value === undefined || value === 'json') return 'json';
  if (value === 'csv') return 'csv';
  throw new LMServError('invalid_value', 'format must be json or csv', { param: 'format' });
}
