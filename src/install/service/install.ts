/** Installs the service, step by step; each step may be done already. */
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { loadConfig, type Config } from '../../config/load.js';
import { readDotenv } from '../../files/dotenv.js';
import { exists } from '../files.js';
import { ensureUser, gpuGroups, type ServiceUser } from './account.js';
import { ServiceError } from './errors.js';
import { createEnvFile, putFile } from './files.js';
import { findBinary, reachableBinary, requireBinary } from './llama.js';
import type { ServiceOptions } from './options.js';
import { homeProtection, requireReadable, requireRunnable, requireVisible } from './readable.js';
import type { System } from './system.js';
import { SERVICE, SOCKET, startAgain, systemctl } from './systemctl.js';
import { renderService, renderSocket } from './unit.js';

export interface Installation {
  readonly options: ServiceOptions;
  /** The checkout. */
  readonly root: string;
  /** Node's own path. */
  readonly node: string;
  /** Where copies of programs go that only root may change. */
  readonly programs: string;
  /** Folders in whose place a service has its own. */
  readonly temporary: readonly string[];
  readonly system: System;
  /** One line for each step. */
  readonly say: (line: string) => void;
}

const template = (root: string, name: string): Promise<string> =>
  readFile(path.join(root, 'deploy/systemd', name), 'utf8');

/** The settings as the service will read them. @throws ConfigError. An unreadable file counts as empty. */
function settings({ options, root }: Installation): Config {
  return loadConfig({}, { env: readDotenv(options.envFile), folder: root });
}

/** Files of the configuration that the server reads at its start. */
function configuredFiles(config: Config): string[] {
  const models = Object.values(config.file.models).map((model) => model.path);
  const others = [config.keysFile, config.fileSource?.path].filter((file) => file !== undefined);
  return [...models.filter((file) => !file.startsWith('hf:')), ...others];
}

/** The unit, for a llama.cpp where one must be named in it and for all that is read where it lies. */
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

/** The unit as it would be installed here, without looking at what the user may read. */
export async function printedUnit(installation: Installation): Promise<string> {
  const config = settings(installation);
  const service = await serviceUnit(installation, config, undefined, configuredFiles(config));
  if (!installation.options.socket) return service;
  return `${service}\n# --- ${SOCKET}\n${await socketUnit(installation.root, config)}`;
}

/** @throws ServiceError for a port that systemd cannot hold */
async function socketUnit(root: string, { host, port }: Config): Promise<string> {
  if (port === 0) throw new ServiceError('PORT: with --socket it must be a certain one, not 0');
  return renderSocket(await template(root, SOCKET), root, host, port);
}

/** @throws ServiceError for an hf: model that has not been fetched, which a service may not write into the checkout */
function requireFetched(config: Config, root: string): void {
  for (const { path: file } of Object.values(config.file.models)) {
    if (!file.startsWith('hf:')) continue;
    throw new ServiceError(
      `${file}: a service cannot fetch models into ${root}. Run: npm run model -- ${file}, and name the file`,
    );
  }
}

/** Programs that the settings name. */
const configuredBinaries = (config: Config): string[] =>
  Object.values(config.file.models).flatMap(({ binPath = config.binPath }) => binPath ?? []);

/** The checkout's llama.cpp, where a model needs it. */
async function ownBinary(config: Config, root: string): Promise<string | undefined> {
  const models = Object.values(config.file.models);
  const needed = models.some(({ binPath = config.binPath }) => binPath === undefined);
  return needed ? findBinary(root) : undefined;
}

/** @throws ServiceError naming what the user cannot reach */
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

/** Sees to it that the user can run all that it needs. @returns the unit. @throws ServiceError */
async function accessibleUnit(
  installation: Installation,
  user: ServiceUser,
  config: Config,
): Promise<string> {
  const { root, programs, system, say } = installation;
  await checkAccess(installation, user, config);
  const own = await ownBinary(config, root);
  const copy = own && (await reachableBinary(system, user, own, programs));
  if (copy !== undefined) say(`llama.cpp: copied to ${path.dirname(copy)}, where the service may run it`);
  say(`Access: user ${user.name} can run the server and read its files`);
  const inPlace = copy === undefined && own !== undefined ? [own] : [];
  const files = [...configuredFiles(config), ...configuredBinaries(config), ...inPlace];
  return serviceUnit(installation, config, copy, files);
}

async function putUnits(installation: Installation, service: string, socket: string | undefined) {
  const { options, say } = installation;
  const put = async (name: string, text: string) => {
    const file = path.join(options.unitDir, name);
    say(`Unit: ${file} ${(await putFile(file, text)) ? 'written' : 'is as it should be'}`);
  };
  await put(SERVICE, service);
  if (socket !== undefined) await put(SOCKET, socket);
  else await removeSocket(installation);
}

/** A socket of an earlier installation. */
async function removeSocket({ options, system, say }: Installation): Promise<void> {
  const file = path.join(options.unitDir, SOCKET);
  if (!(await exists(file))) return;
  await systemctl(system, 'disable', '--now', SERVICE, SOCKET);
  await rm(file);
  say(`Unit: ${file} removed`);
}

/** @throws ServiceError, and what the configuration throws */
export async function install(installation: Installation): Promise<void> {
  const { options, root, system, say } = installation;
  requireSystemd(system);
  const { user, made } = await ensureUser(system, options.user);
  say(`User: ${user.name} ${made ? 'made' : 'is there'}`);
  const fresh = await createEnvFile(options.envFile);
  say(`Settings: ${options.envFile} ${fresh ? 'made, with an API_KEY of its own' : 'left as it is'}`);
  const config = settings(installation);
  const service = await accessibleUnit(installation, user, config);
  await putUnits(installation, service, options.socket ? await socketUnit(root, config) : undefined);
  await systemctl(system, 'daemon-reload');
  await systemctl(system, 'enable', SERVICE);
  say('Enabled: it starts with the machine');
  if (!options.start) return say(`Not started; do so with: systemctl start ${SERVICE}`);
  say(`Starting; this waits until a model is loaded. To watch: journalctl -u ${SERVICE} -f -o cat`);
  await startAgain(system, options.socket);
  say(`Running at port ${config.port}`);
}

/** Stops the service and removes its units. */
export async function uninstall({ options, system, say }: Installation): Promise<void> {
  requireSystemd(system);
  const units: string[] = [];
  for (const name of [SERVICE, SOCKET]) if (await exists(path.join(options.unitDir, name))) units.push(name);
  if (units.length === 0) return say(`There is no ${SERVICE} in ${options.unitDir}`);
  await systemctl(system, 'disable', '--now', ...units);
  for (const name of units) await rm(path.join(options.unitDir, name));
  await systemctl(system, 'daemon-reload');
  say(`Stopped and removed: ${units.join(', ')}`);
  say(`Left: ${options.envFile}, /var/lib/lmserv, /var/cache/lmserv, /usr/local/lib/lmserv and the user`);
}

/** @throws ServiceError where nothing can be installed */
function requireSystemd({ privileged, booted }: System): void {
  const print = 'npm run install-service -- --print shows the unit';
  if (!booted)
    throw new ServiceError(`This machine is not run by systemd, so nothing is installed; ${print}`);
  if (!privileged) throw new ServiceError(`Only root can install a service: use sudo; ${print}`);
}
