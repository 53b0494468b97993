/** `GET /usage`: its query and its two forms, JSON and CSV. Pure. */

import { LMServError } from '../errors.js';
import type { UsageRow } from './database.js';
import { dayOf, type Day } from './day.js';
import { addCounts, noCounts, type UsageCounts } from './entry.js';
import { formatNano } from './money.js';

/** Counts as a report shows them; `cost` in the currency of the prices, to nine decimals. */
export interface ReportCounts {
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
  cost: number;
  cancelled: number;
  broken: number;
  refused: number;
}

export interface UsageReport {
  usage: ({ tenant: string; model: string; day: Day } & ReportCounts)[];
  total: ReportCounts;
}

function reportCounts(counts: UsageCounts): ReportCounts {
  return {
    requests: counts.requests,
    prompt_tokens: counts.promptTokens,
    completion_tokens: counts.completionTokens,
    cost: Number(formatNano(counts.costNano)),
    cancelled: counts.cancelled,
    broken: counts.broken,
    refused: counts.refused,
  };
}

/** The rows and their total, which is added up in nanos and so is exact. */
export function usageJson(rows: readonly UsageRow[]): UsageReport {
  const total = noCounts();
  for (const row of rows) addCounts(total, row);
  const usage = rows.map((row) => ({
    tenant: row.tenant,
    model: row.model,
    day: row.day,
    ...reportCounts(row),
  }));
  return { usage, total: reportCounts(total) };
}

/** A spreadsheet takes a cell that begins so for a formula, and a tenant's name is the client's choice. */
const FORMULA = /^\s*[=+\-@＝＋－＠]|^[\t\r\n]/;

function csvText(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const CSV_COLUMNS: Record<string, (row: UsageRow) => string | number> = {
  tenant: (row) => csvText(row.tenant),
  model: (row) => csvText(row.model),
  day: (row) => row.day,
  requests: (row) => row.requests,
  prompt_tokens: (row) => row.promptTokens,
  completion_tokens: (row) => row.completionTokens,
  cost: (row) => formatNano(row.costNano),
  cancelled: (row) => row.cancelled,
  broken: (row) => row.broken,
  refused: (row) => row.refused,
};

/**
 * RFC 4180: a header line, then a line a row, each ended by CR LF. A name that a spreadsheet would run as a formula
 * gets an apostrophe in front.
 */
export function usageCsv(rows: readonly UsageRow[]): string {
  const cells = Object.values(CSV_COLUMNS);
  const lines = rows.map((row) => cells.map((cell) => cell(row)).join(','));
  return [Object.keys(CSV_COLUMNS).join(','), ...lines, ''].join('\r\n');
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
export function usageFormat(value: unknown): 'json' | 'csv' {
  if (value === undefined || value === 'json') return 'json';
  if (value === 'csv') return 'csv';
  throw new LMServError('invalid_value', 'format must be json or csv', { param: 'format' });
}
