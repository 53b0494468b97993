/** `npm run install-service`: the command line of the installer. */
import { ConfigError } from '../config/load.js';
import { BinaryError } from '../../workers/binary.js';
import { ServiceError } from '../install/service/errors.js';
import { install, printedUnit, uninstall, type Installation } from '../install/service/install.js';
import { parseServiceArgs, USAGE } from '../install/service/options.js';
import { thisSystem } from '../install/service/system.js';

/** Replaced by the unit's PrivateTmp. */
const TEMPORARY = ['/tmp', '/var/tmp'];

/** Errors whose message is all that the user needs. */
const PLAIN = [BinaryError, ConfigError, ServiceError];

const print = (text: string): void => void process.stdout.write(`${text.trimEnd()}\n`);

async function run(args: readonly string[], root: string): Promise<void> {
  const options = parseServiceArgs(args);
  const place = { root, node: process.execPath, programs: '/usr/local/lib/lmserv', temporary: TEMPORARY };
  const installation: Installation = { options, ...place, system: thisSystem(), say: print };
  if (options.action === 'help') return print(USAGE);
  if (options.action === 'print') return print(await printedUnit(installation));
  // What is made here is read by another user.
  process.umask(0o022);
  await (options.action === 'install' ? install(installation) : uninstall(installation));
}

/** Runs the command; a failure is written and makes the exit code 1. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  try {
    await run(args, root);
  } catch (error) {
    if (!PLAIN.some((kind) => error instanceof kind)) throw error;
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
