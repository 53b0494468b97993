/** `lmserv install-service`, also `npm run install-service`. */
import path from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { ROOT } from '../config/root.js';
import { OWN_USER } from '../install/service/account.js';

export interface ServiceFlags {
  readonly print?: boolean;
  readonly uninstall?: boolean;
  readonly user: string;
  /** Absolute, like the folder of the units. */
  readonly envFile: string;
  readonly unitDir: string;
  readonly socket: boolean;
  readonly start: boolean;
}

export function addInstallServiceCommand(
  program: Command,
  run: (flags: ServiceFlags) => void | Promise<void> = runInstallService,
): void {
  const absolute = (file: string): string => path.resolve(file);
  program
    .command('install-service')
    .description('run LMServ under systemd')
    .addOption(
      new Option('--print', 'only print the unit; needs neither root nor systemd').conflicts('uninstall'),
    )
    .option('--user <name>', 'run as this existing user (default: a dedicated one)', parseUser, OWN_USER)
    .option('--env-file <path>', 'file of its settings', absolute, '/etc/lmserv/lmserv.env')
    .option('--unit-dir <folder>', 'where units are kept', absolute, '/etc/systemd/system')
    .option('--socket', 'let systemd hold the port, so that an upgrade refuses no connection', false)
    .option('--no-start', 'install and enable, but do not start')
    .option('--uninstall', 'stop it and remove its units; settings and data stay')
    .action((flags: ServiceFlags) => run(flags));
}

/** As useradd accepts it. */
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;

function parseUser(name: string): string {
  if (!USER_NAME.test(name)) throw new InvalidArgumentError('It is not a valid user name.');
  if (name === 'root') throw new InvalidArgumentError('A network server must not run as root.');
  return name;
}

/** A service has a private /tmp (PrivateTmp), so these are hidden from it. */
const TEMPORARY = ['/tmp', '/var/tmp'];

async function runInstallService({ print, uninstall, ...options }: ServiceFlags): Promise<void> {
  const service = await import('../install/service/install.js');
  const { thisSystem } = await import('../install/service/system.js');
  const say = (text: string): void => void process.stdout.write(`${text.trimEnd()}\n`);
  const installation = {
    options,
    root: ROOT,
    node: process.execPath,
    programs: '/usr/local/lib/lmserv',
    temporary: TEMPORARY,
    system: thisSystem(),
    say,
  };
  if (print) return say(await service.printedUnit(installation));
  // Another user must be able to read the files created here.
  process.umask(0o022);
  await (uninstall ? service.uninstall(installation) : service.install(installation));
}
