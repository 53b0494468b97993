/** Installs the service step by step; steps that are already done are skipped. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { loadConfig, type Config } from '../../config/load.js';
import { isOnHub } from '../../config/model-path.js';
import { readDotenv } from '../../files/dotenv.js';
import { writeAtomically } from '../../files/write-text.js';
import { exists } from '../files.js';
import {
  ensureUser,
  gpuGroups,
  homeProtection,
  requireReadable,
  requireRunnable,
  requireVisible,
  type ServiceUser,
} from './account.js';
import { findBinary, reachableBinary, requireBinary } from './llama.js';
import { SERVICE, ServiceError, SOCKET, startAgain, systemctl, type System } from './system.js';
import { renderService, renderSocket } from './unit.js';

export interface ServiceOptions {
  readonly user: string;
  readonly envFile: string;
  readonly unitDir: string;
  readonly socket: boolean;
  readonly start: boolean;
}

export interface Installation {
  readonly options: ServiceOptions;
  /** The checkout. */
  readonly root: string;
  /** Node's own path. */
  readonly node: string;
  /** Folder for copies of programs that only root may change. */
  readonly programs: string;
  /** Folders of which a service has a private version. */
  readonly temporary: readonly string[];
  readonly system: System;
  /** Prints one line for each step. */
  readonly say: (line: string) => void;
}

/** The units as they would be installed here, without checking the user's access. */
export async function printedUnit(installation: Installation): Promise<string> {
  const config = settings(installation);
  const service = await serviceUnit(installation, config, undefined, configuredFiles(config));
  if (!installation.options.socket) return service;
  return `${service}\n# --- ${SOCKET}\n${await socketUnit(installation.root, config)}`;
}

/** The settings as the service will read them. @throws ConfigError. An unreadable file counts as empty. */
function settings({ options, root }: Installation): Config {
  return loadConfig({}, { env: readDotenv(options.envFile), folder: root });
}

/** The service's unit, with a llama.cpp if it must name one, and with access to all files that the server reads. */
async function serviceUnit(
  { options, root, node, system }: Installation,
  config: Config,
  binary: string | undefined,
  files: readonly string[],
): Promise<string> {
  const { user, envFile, socket } = options;
  return renderService(await template(root, SERVICE), {
    ...{ root, node, user, envFile, socket, binary },
    shutdownGraceMs: config.shutdownGraceMs,
    groups: await gpuGroups(system),
    protectHome: await homeProtection([root, node, ...files]),
  });
}

const template = (root: string, name: string): Promise<string> =>
  readFile(path.join(root, 'deploy/systemd', name), 'utf8');

/** Files named by the configuration that the server reads at startup. */
function configuredFiles(config: Config): string[] {
  const models = Object.values(config.file.models).map((model) => model.path);
  const others = [config.keysFile, config.fileSource?.path].filter((file) => file !== undefined);
  return [...models.filter((file) => !isOnHub(file)), ...others];
}

/** @throws ServiceError for a port that systemd cannot listen on */
async function socketUnit(root: string, { host, port }: Config): Promise<string> {
  if (port === 0) throw new ServiceError('PORT: --socket needs a fixed port, not 0');
  return renderSocket(await template(root, SOCKET), root, host, port);
}

/** @throws ServiceError, and what the configuration throws */
export async function install(installation: Installation): Promise<void> {
  const { options, root, system, say } = installation;
  requireSystemd(system);
  const { user, made } = await ensureUser(system, options.user);
  say(`User: ${user.name} ${made ? 'created' : 'exists'}`);
  const fresh = await createEnvFile(options.envFile);
  say(`Settings: ${options.envFile} ${fresh ? 'created, with a random API_KEY' : 'left unchanged'}`);
  const config = settings(installation);
  const service = await accessibleUnit(installation, user, config);
  await putUnits(installation, service, options.socket ? await socketUnit(root, config) : undefined);
  await systemctl(system, 'daemon-reload');
  await systemctl(system, 'enable', SERVICE);
  say('Enabled: it starts when the machine boots');
  if (!options.start) return say(`Not started. To start it: systemctl start ${SERVICE}`);
  say(`Starting; this takes until a model is loaded. To watch: journalctl -u ${SERVICE} -f -o cat`);
  await startAgain(system, options.socket);
  say(`Running on port ${config.port}`);
}

/** @throws ServiceError if nothing can be installed on this machine */
function requireSystemd({ privileged, booted }: System): void {
  const print = 'npm run install-service -- --print shows the unit';
  if (!booted) throw new ServiceError(`systemd does not run this machine, so nothing is installed; ${print}`);
  if (!privileged) throw new ServiceError(`Only root can install a service: use sudo; ${print}`);
}

/** Creates the file of settings with a random key, unless it exists. @returns whether it was created */
async function createEnvFile(file: string): Promise<boolean> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  const key = randomBytes(24).toString('base64url');
  try {
    await writeFile(file, SETTINGS(key), { mode: 0o600, flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

const SETTINGS = (
  key: string,
): string => `# Settings of the LMServ service: docs/configuration.md lists all of them.
# Only root reads this file; systemd hands it to the server. After a change: systemctl restart lmserv
API_KEY=${key}
`;

/** Ensures that the user can run everything it needs. @returns the unit. @throws ServiceError */
async function accessibleUnit(
  installation: Installation,
  user: ServiceUser,
  config: Config,
): Promise<string> {
  const { root, programs, system, say } = installation;
  await checkAccess(installation, user, config);
  const own = await ownBinary(config, root);
  const copy = own && (await reachableBinary(system, user, own, programs));
  if (copy !== undefined) say(`llama.cpp: copied to ${path.dirname(copy)}, where the service can run it`);
  say(`Access: user ${user.name} can run the server and read its files`);
  const inPlace = copy === undefined && own !== undefined ? [own] : [];
  const files = [...configuredFiles(config), ...configuredBinaries(config), ...inPlace];
  return serviceUnit(installation, config, copy, files);
}

/** @throws ServiceError naming what the user cannot access */
async function checkAccess(
  { root, node, system, temporary }: Installation,
  user: ServiceUser,
  config: Config,
) {
  const files = configuredFiles(config);
  await requireVisible([root, node, ...files], temporary);
  requireFetched(config, root);
  await requireRunnable(system, user, node, root);
  const dotenv = path.join(root, '.env');
  for (const file of (await exists(dotenv)) ? [...files, dotenv] : files)
    await requireReadable(system, user, file);
  for (const binary of configuredBinaries(config)) await requireBinary(system, user, binary);
}

/** @throws ServiceError for an hf: model that has not been fetched, because a service cannot write into the checkout */
function requireFetched(config: Config, root: string): void {
  for (const { path: file } of Object.values(config.file.models)) {
    if (!isOnHub(file)) continue;
    throw new ServiceError(
      `${file}: a service cannot write models into ${root}. Run \`npm run model -- ${file}\` and configure the path that it prints`,
    );
  }
}

/** Programs named by the settings. */
const configuredBinaries = (config: Config): string[] =>
  Object.values(config.file.models).flatMap(({ binPath = config.binPath }) => binPath ?? []);

/** The checkout's llama.cpp, if a model needs it. */
async function ownBinary(config: Config, root: string): Promise<string | undefined> {
  const models = Object.values(config.file.models);
  const needed = models.some(({ binPath = config.binPath }) => binPath === undefined);
  return needed ? findBinary(root) : undefined;
}

async function putUnits(installation: Installation, service: string, socket: string | undefined) {
  const { options, say } = installation;
  const put = async (name: string, text: string) => {
    const file = path.join(options.unitDir, name);
    say(`Unit: ${file} ${(await putFile(file, text)) ? 'written' : 'is up to date'}`);
  };
  await put(SERVICE, service);
  if (socket !== undefined) await put(SOCKET, socket);
  else await removeSocket(installation);
}

/** @returns whether anything had to be written */
async function putFile(file: string, text: string): Promise<boolean> {
  const there = await readFile(file, 'utf8').catch(() => undefined);
  if (there === text) return false;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  writeAtomically(file, text, 0o644);
  return true;
}

/** Removes the socket of an earlier installation. */
async function removeSocket({ options, system, say }: Installation): Promise<void> {
  const file = path.join(options.unitDir, SOCKET);
  if (!(await exists(file))) return;
  await systemctl(system, 'disable', '--now', SERVICE, SOCKET);
  await rm(file);
  say(`Unit: ${file} removed`);
}

/** Stops the service and removes its units. */
export async function uninstall({ options, system, say }: Installation): Promise<void> {
  requireSystemd(system);
  const units: string[] = [];
  for (const name of [SERVICE, SOCKET]) if (await exists(path.join(options.unitDir, name))) units.push(name);
  if (units.length === 0) return say(`No ${SERVICE} is installed in ${options.unitDir}`);
  await systemctl(system, 'disable', '--now', ...units);
  for (const name of units) await rm(path.join(options.unitDir, name));
  await systemctl(system, 'daemon-reload');
  say(`Stopped and removed: ${units.join(', ')}`);
  say(`Kept: ${options.envFile}, /var/lib/lmserv, /var/cache/lmserv, /usr/local/lib/lmserv and the user`);
}
