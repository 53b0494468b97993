/** Days and months of the usage table, in UTC so that they mean the same on every machine and all year. */

/** `YYYY-MM-DD`; sorts as text. */
export type Day = string;

export type Period = 'day' | 'month';

/** The UTC day of a Unix time in milliseconds. */
export function toDay(ms: number): Day {
  return new Date(ms).toISOString().slice(0, 10);
}

/** The first day of the month that `day` is in. */
export function monthStart(day: Day): Day {
  return `${day.slice(0, 8)}01`;
}

/** Whole seconds from `ms` to the end of its UTC day or month, rounded up; at least 1. */
export function secondsLeft(period: Period, ms: number): number {
  const now = new Date(ms);
  const [year, month, date] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  const end = period === 'day' ? Date.UTC(year, month, date + 1) : Date.UTC(year, month + 1, 1);
  return Math.ceil((end - ms) / 1000);
}
