import { within } from '../time.js';
import type { Facts } from './facts.js';
import { fail, type Finding } from './finding.js';
import { CHECKS, type Row } from './table.js';

/** A finding with the name of its check. */
export interface Line extends Finding {
  readonly check: string;
}

/** Longest time for one check; they run side by side. Milliseconds. */
const TIME_LIMIT_MS = 10_000;

/** Runs all checks that the settings allow. Never rejects: a check that fails to run is a failed check. */
export async function runChecks(
  facts: Facts,
  rows: readonly Row[] = CHECKS,
  timeLimitMs = TIME_LIMIT_MS,
): Promise<Line[]> {
  const possible = rows.filter((row) => !row.needsSettings || facts.settings.server !== undefined);
  const findings = await Promise.all(possible.map((row) => runOne(row, facts, timeLimitMs)));
  return possible.flatMap(({ name }, index) =>
    findings[index]!.map((finding) => ({ check: name, ...finding })),
  );
}

async function runOne({ check }: Row, facts: Facts, timeLimitMs: number): Promise<readonly Finding[]> {
  const late = fail(`no answer within ${timeLimitMs / 1000} s`, 'check whether a disk or a driver hangs');
  try {
    const result = (await within(timeLimitMs, (async () => check(facts))())) ?? late;
    return Array.isArray(result) ? (result as readonly Finding[]) : [result as Finding];
  } catch (error) {
    return [fail(`the check itself failed: ${error instanceof Error ? error.message : String(error)}`)];
  }
}
