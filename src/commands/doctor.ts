import { processEnv } from '../config/load.js';
import { Facts } from '../doctor/facts.js';
import { formatJson, formatText, succeeded } from '../doctor/findings.js';
import { runChecks } from '../doctor/run.js';
import { readSettings } from '../doctor/settings.js';
import { systemProbe } from '../doctor/probe.js';

export interface DoctorOptions {
  /** Prints JSON. */
  readonly json?: boolean;
  /** The environment to check; by default that of this process. */
  readonly env?: NodeJS.ProcessEnv;
  /** The folder for `.env` and relative paths; by default the current one. */
  readonly folder?: string;
}

/**
 * `lmserv doctor`: checks the installation and says what to do. Starts no worker and changes nothing.
 *
 * @returns the exit code: 1 if a check failed.
 */
export async function runDoctor(options: DoctorOptions, out: (text: string) => void): Promise<0 | 1> {
  const { json = false, env = processEnv(), folder = process.cwd() } = options;
  const settings = readSettings(env, folder);
  const lines = await runChecks(new Facts(systemProbe(env), settings));
  out((json ? formatJson : formatText)(lines, settings.secrets));
  return succeeded(lines) ? 0 : 1;
}
