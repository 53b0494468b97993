/** The command line of `npm run install-service`. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { ServiceError } from './errors.js';

export const USAGE = `npm run install-service -- [options]: runs LMServ under systemd
  --print          only print the unit; works for anyone, anywhere
  --user NAME      run as this user, who must exist (default: lmserv, made when it is not there)
  --env-file PATH  its settings (default: /etc/lmserv/lmserv.env)
  --unit-dir DIR   where units are kept (default: /etc/systemd/system)
  --socket         let systemd hold the port, so that an upgrade refuses no connection
  --no-start       install and enable, but do not start
  --uninstall      stop it and remove its units; settings and data stay`;

const OPTIONS = {
  print: { type: 'boolean', default: false },
  user: { type: 'string' },
  'env-file': { type: 'string', default: '/etc/lmserv/lmserv.env' },
  'unit-dir': { type: 'string', default: '/etc/systemd/system' },
  socket: { type: 'boolean', default: false },
  'no-start': { type: 'boolean', default: false },
  uninstall: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** The user that is made when none is named. */
export const OWN_USER = 'lmserv';

export interface ServiceOptions {
  readonly action: 'help' | 'print' | 'install' | 'uninstall';
  readonly user: string;
  readonly envFile: string;
  readonly unitDir: string;
  readonly socket: boolean;
  readonly start: boolean;
}

/** As useradd wants it. */
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new ServiceError(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  }
}

function userOf(name: string): string {
  if (!USER_NAME.test(name)) throw new ServiceError(`--user ${name}: is no name of a user`);
  if (name === 'root') throw new ServiceError('--user root: a server for the network needs no such rights');
  return name;
}

/** @throws ServiceError for a bad option */
export function parseServiceArgs(args: readonly string[]): ServiceOptions {
  const values = parse(args);
  if (values.print && values.uninstall) throw new ServiceError('--print and --uninstall: only one of them');
  const asked = values.print ? 'print' : values.uninstall ? 'uninstall' : 'install';
  return {
    action: values.help ? 'help' : asked,
    user: userOf(values.user ?? OWN_USER),
    envFile: path.resolve(values['env-file']),
    unitDir: path.resolve(values['unit-dir']),
    socket: values.socket,
    start: !values['no-start'],
  };
}
