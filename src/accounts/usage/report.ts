/** `GET /usage`: parsing its query and formatting the report as JSON or CSV. Pure. */

import { LMServError } from '../../errors.js';
import { toDay, type Day } from './day.js';
import { addCounts, COUNTS, noCounts, type UsageCounts } from './entry.js';
import { formatNano } from './money.js';
import type { UsageRow } from './pages.js';

/** The format of a report; the default is JSON. */
export type UsageFormat = 'json' | 'csv';

/** Formats a report page by page. The total sums the rows of the report and is exact to the last digit. */
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

/** Formatted from BigInts, because a JavaScript number holds only 16 digits. `cost` is in the currency of the prices. */
function jsonCounts(counts: UsageCounts): string {
  return COUNTS.map((name) => `"${COLUMN_NAMES[name]}":${formatCount(counts, name)}`).join(',');
}

/** The names of the columns in a report. */
const COLUMN_NAMES = {
  requests: 'requests',
  promptTokens: 'prompt_tokens',
  completionTokens: 'completion_tokens',
  costNano: 'cost',
  cancelled: 'cancelled',
  broken: 'broken',
  refused: 'refused',
} as const satisfies Record<keyof UsageCounts, string>;

function formatCount(counts: UsageCounts, name: keyof UsageCounts): string {
  return name === 'costNano' ? formatNano(counts.costNano) : String(counts[name]);
}

/** RFC 4180: a header line, then one line per row, each terminated by CR LF. */
function* csvText(pages: Iterable<UsageRow[]>): Generator<string, void> {
  yield `tenant,model,day,${Object.values(COLUMN_NAMES).join(',')}\r\n`;
  for (const page of pages) yield page.map(csvLine).join('');
}

function csvLine(row: UsageRow): string {
  const counts = COUNTS.map((name) => formatCount(row, name));
  return `${[csvCell(row.tenant), csvCell(row.model), row.day, ...counts].join(',')}\r\n`;
}

/** Spreadsheets treat a cell that begins like this as a formula, and clients choose the names of tenants. */
const FORMULA = /^\s*[=+\-@＝＋－＠]|^[\t\r\n]/;

/** A formula after `;`: where `;` separates cells, a cell begins there even inside quotes. */
const LATER_FORMULA = /;(?=\s*[=+\-@＝＋－＠])/g;

/** Quotes a cell; an apostrophe keeps spreadsheets from running it as a formula. */
function csvCell(text: string): string {
  const plain = text.replaceAll(LATER_FORMULA, ";'");
  const safe = FORMULA.test(plain) ? `'${plain}` : plain;
  return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const DAY = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+ -]\d{2}:\d{2})?)?$/;

/** The UTC day of a date or an ISO time; undefined when it is neither, or does not exist in the calendar. */
function parseDay(text: string): Day | undefined {
  const [, date, time, zone = 'Z'] = DAY.exec(text) ?? [];
  const midnight = Date.parse(`${date}T00:00:00Z`);
  if (date === undefined || Number.isNaN(midnight) || toDay(midnight) !== date) return undefined;
  if (time === undefined) return date;
  // A plus in a URL that was not escaped arrives as a space.
  const moment = Date.parse(`${date}T${time}${zone.replace(' ', '+')}`);
  const day = Number.isNaN(moment) ? '' : toDay(moment);
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
 * Parses the first and last day of a report, both included. A time stands for its day in UTC; a time without a zone is
 * in UTC.
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
 * Parses the format of a report; the default is JSON.
 *
 * @throws LMServError `invalid_value`.
 */
export function usageFormat(value: unknown): UsageFormat {
  if (value === undefined || value === 'json') return 'json';
  if (value === 'csv') return 'csv';
  throw new LMServError('invalid_value', 'format must be json or csv', { param: 'format' });
}
