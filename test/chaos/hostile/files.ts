/** Files that change under the server. */
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'libsql';
import { type Action, KEYS, keyText, type MODELS, replaceFile, signalWorker, type World } from './world.js';
import type { Random } from '../../harness/random.js';

const run = (name: string, body: Action['run']): Action => ({ name, cls: 'files', run: body });

/** How long a changed file may stay unnoticed, milliseconds. */
const NOTICED_MS = 3_000;

/** How soon a worker must be back once it can start again, milliseconds. */
const BACK_MS = 20_000;

/** Ways to give a file another text. */
const WAYS: Readonly<Record<string, (file: string, text: string) => unknown>> = {
  'written in place': (file, text) => writeFileSync(file, text),
  replaced: replaceFile,
  'half-written': async (file, text) => {
    writeFileSync(file, text.slice(0, text.length / 2));
    await sleep(300);
    writeFileSync(file, text);
  },
  'moved away and back': async (file, text) => {
    renameSync(file, `${file}.away`);
    await sleep(300);
    writeFileSync(`${file}.away`, text);
    renameSync(`${file}.away`, file);
  },
  'made a link': (file, text) => {
    const target = `${file}.${performance.now()}`;
    writeFileSync(target, text);
    symlinkSync(target, `${file}.link`);
    renameSync(`${file}.link`, file);
  },
  'folder swapped': async (file, text) => {
    const folder = dirname(file);
    mkdirSync(`${folder}.new`);
    writeFileSync(file.replace(folder, `${folder}.new`), text);
    renameSync(folder, `${folder}.old`);
    await sleep(100);
    renameSync(`${folder}.new`, folder);
    rmSync(`${folder}.old`, { recursive: true });
  },
};

/** A storm of changes before the one that counts. */
async function storm(world: World, file: string, texts: readonly string[], random: Random): Promise<void> {
  for (let count = 0; count < 60; count += 1) {
    replaceFile(file, random.pick(texts));
    if (random.chance(0.5)) world.server.signal('SIGHUP');
    await sleep(random.int(0, 30));
  }
}

const withoutRevoked = keyText(KEYS.filter((name) => name !== 'revocable'));

/** Revokes a key in one of the ways, and restores it in the same way. */
async function revoke(world: World, way: (file: string, text: string) => unknown): Promise<void> {
  const status = async () => (await world.ask('/v1/models', undefined, { as: 'revocable' })).status;
  await way(world.files.keys, withoutRevoked);
  if (!(await world.within(NOTICED_MS, async () => (await status()) === 401)))
    world.problem(`a revoked key still works after ${NOTICED_MS} ms`);
  await way(world.files.keys, keyText(KEYS));
  if (!(await world.within(NOTICED_MS, async () => (await status()) === 200)))
    world.problem(`a new key does not work after ${NOTICED_MS} ms`);
}

async function reconfigure(
  world: World,
  way: (file: string, text: string) => unknown,
  random: Random,
): Promise<void> {
  const mark = `mark-${random.int(0, 1e9)}`;
  await way(world.files.config, world.config(mark));
  const seen = async () => (await world.ask('/v1/models')).text.includes(mark);
  if (!(await world.within(NOTICED_MS, seen)))
    world.problem(`a changed configuration is not in force after ${NOTICED_MS} ms`);
}

/** Ends the workers of a model while something that a successor needs is missing, then puts it back. */
async function startless(
  world: World,
  model: keyof typeof MODELS,
  harm: () => void,
  repair: () => void,
  random: Random,
) {
  await world.within(BACK_MS, () => world.workersOf(model).length > 0);
  harm();
  for (const worker of world.workersOf(model)) signalWorker(worker, 'SIGKILL');
  await sleep(random.int(300, 2_000));
  repair();
  if (!(await world.within(BACK_MS, () => world.workersOf(model).length > 0)))
    world.problem(`${model} has no worker ${BACK_MS} ms after it could start again`);
}

/** Limits the size of files that the server may write; false if that is not possible here. */
function limitFiles(pid: number, bytes: string): boolean {
  return spawnSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`], { stdio: 'ignore' }).status === 0;
}

export const FILES: readonly Action[] = [
  ...Object.entries(WAYS).flatMap(([name, way]) => [
    run(`keys: ${name}`, (world) => revoke(world, way)),
    run(`configuration: ${name}`, (world, random) => reconfigure(world, way, random)),
  ]),
  run('keys: storm', async (world, random) => {
    await storm(world, world.files.keys, [keyText(KEYS), withoutRevoked, '{"keys":['], random);
    await revoke(world, replaceFile);
  }),
  run('configuration: storm', async (world, random) => {
    const { config } = world.files;
    await storm(world, config, [world.config('a'), world.config('b'), '{"models":'], random);
    await reconfigure(world, replaceFile, random);
  }),
  run('SIGHUP: storm', async (world, random) => {
    for (let sent = 0; sent < 200; sent += 1) {
      world.server.signal('SIGHUP');
      await sleep(random.int(0, 10));
    }
  }),
  run('model: its path leads nowhere while a worker dies', (world, random) => {
    const { model } = world.files;
    const real = `${model}.real`;
    const harm = () => {
      renameSync(model, real);
      // A link to itself fails with ELOOP, for root too.
      symlinkSync(model, model);
    };
    return startless(world, 'spare', harm, () => renameSync(real, model), random);
  }),
  run('temporary folder: removed while a worker dies', (world, random) => {
    const { temporary } = world.files;
    const harm = () => rmSync(temporary, { recursive: true, force: true });
    return startless(world, 'boxed', harm, () => mkdirSync(temporary), random);
  }),
  run('temporary folder: a file while a worker dies', (world, random) => {
    const { temporary } = world.files;
    const harm = () => {
      rmSync(temporary, { recursive: true, force: true });
      writeFileSync(temporary, '');
    };
    const repair = () => {
      if (lstatSync(temporary).isFile()) rmSync(temporary);
      mkdirSync(temporary);
    };
    return startless(world, 'boxed', harm, repair, random);
  }),
  run('usage: locked by another process', async (world, random) => {
    const database = new Database(world.files.usage);
    try {
      database.exec('BEGIN EXCLUSIVE');
      await sleep(random.int(500, 2_500));
      database.exec('ROLLBACK');
    } finally {
      database.close();
    }
  }),
  run('usage: the disk is full', async (world, random) => {
    const { pid } = world.server;
    if (!limitFiles(pid, '0')) return world.skip('usage: the disk is full: prlimit cannot set a limit here');
    await sleep(random.int(500, 2_500));
    if (!limitFiles(pid, 'unlimited')) world.problem('the limit of file sizes could not be lifted');
  }),
];
