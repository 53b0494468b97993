/** The units for one checkout, from the templates in deploy/systemd. Pure. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';

export interface UnitOptions {
  /** The checkout. */
  readonly root: string;
  /** Node's own path. */
  readonly node: string;
  readonly envFile: string;
  readonly user: string;
  /** Additional groups, for GPU devices. */
  readonly groups: readonly string[];
  /** The llama.cpp to run, if the user cannot access the checkout's. */
  readonly binary?: string | undefined;
  readonly protectHome: 'yes' | 'read-only';
  /** SHUTDOWN_GRACE_SECS, milliseconds. */
  readonly shutdownGraceMs: number;
  /** With lmserv.socket. */
  readonly socket: boolean;
}

/** Time beyond the grace period, seconds: 5 s until SIGKILL for workers, and some margin. */
const STOP_MARGIN_SECS = 15;

/** lmserv.service, from its template. */
export function renderService(template: string, options: UnitOptions): string {
  const { root, node, envFile, user, groups, binary, socket } = options;
  return fill(template, {
    DOCUMENTATION: documentation(root),
    NODE: argument(node),
    CLI: argument(path.join(root, 'dist/src/cli.js')),
    ROOT: plain(root),
    ENV_FILE: plain(envFile),
    LLM_BIN_PATH: binary === undefined ? '' : word(`LLM_BIN_PATH=${binary}`),
    USER: user,
    SUPPLEMENTARY_GROUPS: groups.length > 0 ? `SupplementaryGroups=${groups.join(' ')}` : '',
    PROTECT_HOME: options.protectHome,
    STOP_SECS: String(Math.ceil(options.shutdownGraceMs / 1000) + STOP_MARGIN_SECS),
    SOCKET: socket ? 'lmserv.socket' : '',
    SOCKET_UNIT: socket ? 'Requires=lmserv.socket' : '',
    ALSO: socket ? 'Also=lmserv.socket' : '',
  });
}

/** Fills values into a template; a line that contains only an empty value is removed. */
function fill(template: string, values: Readonly<Record<string, string>>): string {
  const lines = template.split('\n').flatMap((line) => {
    const filled = line.replaceAll(/@([A-Z_]+)@/g, (name, key: string) => values[key] ?? name).trimEnd();
    return filled === '' && line !== '' ? [] : [filled];
  });
  return lines.join('\n');
}

const documentation = (root: string): string => plain(pathToFileURL(path.join(root, 'docs/systemd.md')).href);

/** `%` begins a specifier in every setting of a unit. */
const plain = (text: string): string => text.replaceAll('%', '%%');

/** One word of a command line, where `$` begins a variable. */
const argument = (text: string): string => word(text).replaceAll('$', '$$$$');

/** One word of a list, quoted. */
const word = (text: string): string => `"${plain(text).replaceAll(/["\\]/g, '\\$&')}"`;

/** lmserv.socket, from its template, for an address and a port. */
export function renderSocket(template: string, root: string, host: string, port: number): string {
  const listen = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return fill(template, { DOCUMENTATION: documentation(root), LISTEN: listen });
}
