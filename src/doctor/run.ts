import { within } from '../time.js';
import { checkEnvFile, checkKey, checkKeysFile } from './checks/keys.js';
import { checkDataFolder, checkOpenFiles, checkPort, checkThreads } from './checks/machine.js';
import {
  checkCapabilities,
  checkGpuMemory,
  checkMemory,
  checkMemoryLimit,
  checkModel,
  checkModelFiles,
} from './checks/model.js';
import {
  checkBinary,
  checkConfiguration,
  checkGpu,
  checkGpuLayers,
  checkLlamaConfig,
  checkNode,
  checkSetpriv,
} from './checks/software.js';
import type { Facts } from './facts.js';
import { type Finding, fail, type Line } from './findings.js';

export interface Row {
  /** What is checked. */
  readonly name: string;
  readonly check: (facts: Facts) => Finding | readonly Finding[] | Promise<Finding | readonly Finding[]>;
  /** It reads the server's settings, so it is skipped when they cannot be read. */
  readonly needsSettings?: true;
}

const needsSettings = true;

/** All checks, in the order they are shown. A new one is a row here and a test. */
export const CHECKS: readonly Row[] = [
  { name: 'Node', check: (facts) => checkNode(facts) },
  { name: 'configuration', check: checkConfiguration },
  { name: 'binary', check: checkBinary, needsSettings },
  { name: 'llama.cpp settings', check: checkLlamaConfig },
  { name: 'GPU', check: checkGpu, needsSettings },
  { name: 'GPU layers', check: checkGpuLayers, needsSettings },
  { name: 'model', check: checkModel, needsSettings },
  { name: 'model files', check: checkModelFiles, needsSettings },
  { name: 'capabilities', check: checkCapabilities, needsSettings },
  { name: 'memory', check: checkMemory, needsSettings },
  { name: 'GPU memory', check: checkGpuMemory, needsSettings },
  { name: 'memory limit', check: checkMemoryLimit, needsSettings },
  { name: 'data folder', check: checkDataFolder, needsSettings },
  { name: 'port', check: checkPort, needsSettings },
  { name: 'key', check: checkKey, needsSettings },
  { name: 'key file', check: checkKeysFile, needsSettings },
  { name: '.env', check: checkEnvFile },
  { name: 'setpriv', check: checkSetpriv },
  { name: 'open files', check: checkOpenFiles },
  { name: 'threads', check: checkThreads, needsSettings },
];

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
