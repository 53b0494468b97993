import { UserError } from '../../../src/errors.js';
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'libsql';
import { openUsageStore } from '../../../src/accounts/usage/store.js';
import { actionsNamed, Dealer } from './actions.js';
import { failuresOf, type Findings, type ModestRequest, type Ran, reportText } from './findings.js';
import { judgePauses, type Pause, sharedNow } from './pauses.js';
import { HostileRemote } from './remote.js';
import { badCertificate, type Class, CLASSES, configText, Files, MODELS, SETTINGS, World } from './world.js';
import type { HostileOptions } from '../options.js';
import { memoryMib, stillLlama } from '../../harness/processes.js';
import { CLI, ServerProcess } from '../../harness/server-process.js';
import { Random } from '../../harness/random.js';

const print = (text: string) => void process.stderr.write(`${text}\n`);

/** Attacks a real LMServ and prints what it found. The exit code is 1 if that is not good enough. */
export async function main(options: HostileOptions, signal: AbortSignal): Promise<void> {
  const found = await runHostile(options, signal);
  process.stdout.write(reportText(found));
  process.exitCode = failuresOf(found).length === 0 ? 0 : 1;
}

/** How many actions of a class run at a time: one alone changes files, and one clocks. */
const LANES: Readonly<Record<Class, number>> = { clients: 2, remotes: 2, files: 1, clocks: 1 };

/** Rows of the usage table before the run begins. */
const USAGE_ROWS = 300_000;

/** Milliseconds: before memory at rest is read, between looks at it, and until a server that does not stop is killed. */
const REST_MS = 2_000;
const LOOK_MS = 500;
const STOP_MS = 15_000;

/** Until all that is open has ended and all workers are back, milliseconds; in a crash loop one may wait for 30 s. */
const SETTLE_MS = 45_000;

const total = (count: 'workers' | 'slots') =>
  Object.values(MODELS).reduce(
    (sum, model) => sum + model.workers * (count === 'slots' ? model.slots : 1),
    0,
  );

/** Starts a server, attacks it, and looks at it afterwards. @throws UserError if it does not start. */
async function runHostile(options: HostileOptions, signal: AbortSignal): Promise<Findings> {
  const { seed } = options;
  const folder = mkdtempSync(join(tmpdir(), 'lmserv-hostile-'));
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  // A second Ctrl-C ends this process at once.
  process.once('exit', removeFolder);
  const files = new Files(folder);
  const control = fork(new URL('control.js', import.meta.url));
  let remote: HostileRemote | undefined;
  let server: ServerProcess | undefined;
  try {
    remote = await HostileRemote.start(new Random(seed, 1), badCertificate(folder));
    await files.prepare(configText(files, remote, 'first'));
    fillUsage(files.usage);
    print('Starting a server');
    server = new ServerProcess({
      folder,
      detached: true,
      settings: { ...SETTINGS, LLM_WORKERS: String(total('workers')), ...files.settings },
      command: [process.execPath, '--import', new URL('preload.js', import.meta.url).href, CLI, 'serve'],
      ipc: true,
    });
    await server.untilStarted(total('workers'));
    return await new Hostile(options, signal, { server, files, remote, control }).run();
  } finally {
    await server?.kill();
    control.kill('SIGKILL');
    await remote?.stop();
    process.off('exit', removeFolder);
    removeFolder();
  }
}

/** A table as after years: most of what GET /usage reads. */
function fillUsage(file: string): void {
  openUsageStore({ file, onError: () => undefined }).close();
  const database = new Database(file);
  database.exec(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${USAGE_ROWS - 1})
    INSERT INTO usage (tenant, day, model, key, requests, promptTokens, completionTokens, costNano, cancelled, broken, refused)
    SELECT 't' || (i % 300), date('now', '-' || (i / 300) || ' days'), 'demo', 'odd', 1, 1, 1, 1, 0, 0, 0 FROM n`);
  database.close();
}

interface Parts {
  readonly server: ServerProcess;
  readonly files: Files;
  readonly remote: HostileRemote;
  readonly control: ChildProcess;
}

class Hostile {
  readonly #options: HostileOptions;
  readonly #signal: AbortSignal;
  readonly #server: ServerProcess;
  readonly #world: World;
  readonly #pauses: Pause[] = [];
  readonly #noise: Pause[] = [];
  readonly #ran: Ran[] = [];
  /** Since when each action in progress runs. */
  readonly #active = new Map<Promise<unknown>, Omit<Ran, 'to'>>();
  readonly #modest: ModestRequest[] = [];
  readonly #problems: string[] = [];
  readonly #skipped = new Set<string>();
  #until = 0;
  #peak: number | undefined;

  constructor(options: HostileOptions, signal: AbortSignal, { server, files, remote, control }: Parts) {
    this.#options = options;
    this.#signal = signal;
    this.#server = server;
    this.#world = new World(
      server,
      files,
      remote,
      (text) => this.#problem(text),
      (text) => this.#skipped.add(text),
    );
    server.onMessage((pause: Pause) => this.#pauses.push(pause));
    control.on('message', (pause) => this.#noise.push(pause as unknown as Pause));
  }

  async run(): Promise<Findings> {
    const { seed, seconds, only = '' } = this.#options;
    const actions = actionsNamed(only);
    const undisturbed = await this.#reply();
    if (!undisturbed.startsWith('200')) throw new UserError(`the undisturbed reply is ${undisturbed}`);
    await sleep(REST_MS);
    const idle = memoryMib(this.#server.pid, 'VmRSS');
    const began = performance.now();
    const from = sharedNow();
    this.#until = began + seconds * 1_000;
    print(`Hostile for ${seconds} s, seed ${seed}`);
    const looks = setInterval(() => this.#look(), LOOK_MS);
    const lanes = CLASSES.flatMap((cls, stream) => {
      if (!actions.some((action) => action.cls === cls)) return [];
      const dealer = new Dealer(cls, new Random(seed, 2, stream), actions);
      return Array.from({ length: LANES[cls] }, (_, lane) =>
        this.#lane(dealer, new Random(seed, 3, stream, lane)),
      );
    });
    await Promise.all([...lanes, this.#beModest()]);
    const to = sharedNow();
    const lasted = (performance.now() - began) / 1_000;
    print('Looking at what is left');
    await this.#settle(undisturbed);
    this.#look();
    clearInterval(looks);
    await this.#stop();
    return {
      seed,
      seconds: lasted,
      ran: this.#ran,
      modest: this.#modest,
      problems: this.#problems,
      skipped: [...this.#skipped],
      pauses: judgePauses(
        this.#pauses.filter((pause) => pause.to > from && pause.from < to),
        this.#noise,
      ),
      memory: { idle, peak: this.#peak },
    };
  }

  get #over(): boolean {
    return this.#signal.aborted || this.#server.exit !== undefined || performance.now() > this.#until;
  }

  async #lane(dealer: Dealer, random: Random): Promise<void> {
    while (!this.#over) {
      const { name, run } = dealer.next();
      const from = sharedNow();
      const done = run(this.#world, random).catch((error: unknown) =>
        this.#problem(`${name} failed: ${String(error)}`),
      );
      this.#active.set(done, { name, from });
      await done;
      this.#active.delete(done);
      this.#ran.push({ name, from, to: sharedNow() });
    }
  }

  /** A key that sends small requests one at a time. */
  async #beModest(): Promise<void> {
    const body = { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 8 };
    while (!this.#over) {
      const from = sharedNow();
      const { status, text, whole } = await this.#world.chat(body, { as: 'modest', withinMs: 15_000 });
      const [, message = '', code = ''] = /"message":"([^"]*)".*"code":"(\w+)"/.exec(text) ?? [];
      const outcome = [status ?? 'no reply', code, message].join(' ').trim();
      this.#modest.push({ from, to: sharedNow(), served: status === 200 && whole, outcome });
      await sleep(100);
    }
  }

  #reply(): Promise<string> {
    const messages = [{ role: 'user', content: 'Who are you?' }];
    return this.#world
      .chat({ messages, temperature: 0, max_tokens: 40 }, { withinMs: 15_000 })
      .then(({ status, text }) => `${status} ${/"content":"(.*?)"[,}]/.exec(text)?.[1]}`);
  }

  /** The server must be as it was before. */
  async #settle(undisturbed: string): Promise<void> {
    if (this.#server.exit !== undefined) return;
    let ready = '';
    const isIdle = async () => {
      ready = (await this.#world.ask('/ready')).text;
      return ready.includes(`"slots":{"total":${total('slots')},"idle":${total('slots')}}`);
    };
    if (!(await this.#world.within(SETTLE_MS, isIdle)))
      this.#problem(`not all ${total('slots')} slots are free ${SETTLE_MS} ms after the run: ${ready}`);
    const reply = await this.#reply();
    if (reply !== undisturbed) this.#problem(`after the run the reply is ${reply}, before it ${undisturbed}`);
  }

  async #stop(): Promise<void> {
    const { exit } = this.#server;
    const crash = this.#server.logged('crash')[0];
    if (exit !== undefined)
      this.#problem(`the server ended: ${exit.signal ?? `exit code ${exit.code}`}, ${JSON.stringify(crash)}`);
    this.#server.signal('SIGTERM');
    const timer = setTimeout(() => {
      this.#problem(`the server did not end within ${STOP_MS} ms of SIGTERM`);
      // Nothing reports a pause that has not ended.
      const from = this.#pauses.at(-1)?.to ?? 0;
      this.#pauses.push({ from, to: sharedNow(), waited: 0, ran: 0, starved: 0 });
      this.#server.signal('SIGKILL');
    }, STOP_MS);
    await this.#server.exited;
    clearTimeout(timer);
    const orphans = stillLlama(this.#server.spawnedPids());
    for (const pid of orphans) process.kill(pid, 'SIGKILL');
    if (orphans.length > 0) this.#problem(`${orphans.length} workers were left behind`);
  }

  #look(): void {
    const peak = memoryMib(this.#server.pid, 'VmHWM');
    if (peak > 0) this.#peak = peak;
  }

  #problem(text: string): void {
    const active = [...this.#active.values()].map(({ name }) => name);
    const known = `${text}${active.length > 0 ? ` (during ${active.join(' + ')})` : ''}`;
    this.#problems.push(known);
    print(`! ${known}`);
  }
}
