import { linkSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addKey } from '../src/accounts/keys/manage.js';
import { ROOT } from '../src/config/root.js';
import { UserError } from '../src/errors.js';
import { memoryMib, stillLlama } from '../test/harness/processes.js';
import { Random } from '../test/harness/random.js';
import { DEMO_MODEL, KEY, type LogLine, type ServerProcess } from '../test/harness/server-process.js';
import { type Benchmark, type BenchContext, countSteps, describeMachine, withOwned } from './benchmark.js';
import { obtainModel } from './model/models.js';
import { figure, formatTable, toFigures } from './report.js';
import { spawnServer } from './server.js';
import { quantile, spread } from './statistics.js';

/** Copies of the demo model, each under a name of its own. */
const COPIES = 12;
/** How many of them fit. */
const ROOM = 4;
const LARGE = 'large';
const CALLERS = 16;

const REQUESTS = 2_000;
const QUICK_REQUESTS = 200;

/** A worker is killed after so many requests: often, but not twice under the same one, which fails over once. */
const KILL_EVERY = 20;
const LOOK_EVERY_MS = 50;

/** What models may grow beyond the budget, as the server has it. */
const GROWTH = 1.05;

/** Tokens of a reply of the larger model; it would never end by itself. */
const LARGE_TOKENS = 16;

/** The requests of a caller: in random order, or the same models as the others in turn. */
const ORDERS = ['random', 'alternating'] as const;
type Order = (typeof ORDERS)[number];

/** More models than fit: they come and go under load, while workers are killed, and everything stays right. */
export const models: Benchmark = {
  summary: 'thirteen models with room for four: loads, waits, and whether all is right',
  async run(context) {
    const machine = await describeMachine();
    const rows = await withOwned(async (own) => {
      const setup = own(await makeSetup());
      const found: Figures[] = [];
      for (const order of ORDERS) found.push(await measure(setup, order, context));
      return found;
    });
    const failures = rows.flatMap(({ order, faults }) => faults.map((fault) => `${order} order: ${fault}`));
    const text = `${describe(rows)}\n\n${failures.length === 0 ? 'All checks passed.' : failures.join('\n')}`;
    if (failures.length > 0) throw new UserError(text);
    return { text, figures: { machine, rows: toFigures(rows) as object } };
  },
};

/** The models' files, the server's settings, and what every model replies undisturbed. */
interface Setup {
  readonly folder: string;
  readonly names: readonly string[];
  readonly budgetMib: number;
  readonly keys: readonly string[];
  readonly references: ReadonlyMap<string, string>;
  stop(): Promise<void>;
}

const questions = (
  JSON.parse(readFileSync(join(ROOT, 'models/demo-questions.json'), 'utf8')) as { question: string }[]
).map(({ question }) => question);

async function makeSetup(): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), 'lmserv-models-'));
  const stop = async () => rmSync(folder, { recursive: true, force: true });
  try {
    const names = Array.from({ length: COPIES }, (_, index) => `copy-${index + 1}`);
    for (const name of names) link(DEMO_MODEL, join(folder, `${name}.gguf`));
    link((await obtainModel('large')).path, join(folder, `${LARGE}.gguf`));
    const all = [...names, LARGE];
    const config = Object.fromEntries(all.map((name) => [name, settingsOf(name)]));
    writeFileSync(join(folder, 'lmserv.config.json'), JSON.stringify({ models: config }));
    const keysFile = join(folder, 'keys.json');
    const keys: string[] = [];
    for (let caller = 0; caller < CALLERS; caller += 1)
      keys.push((await addKey(keysFile, { name: `caller-${caller}` })).key);
    return { folder, names: all, keys, stop, ...(await learn(folder)) };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** With this context, four copies need more than the larger model. */
const settingsOf = (name: string) => ({
  path: `${name}.gguf`,
  ...{ slots: 2, threads: 1, cacheRamMb: 0, context: name === LARGE ? 512 : 8192 },
});

function link(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    // Another file system.
    symlinkSync(from, to);
  }
}

/** Asks both models everything, with all the memory that they want, and looks what they take. */
function learn(folder: string): Promise<Pick<Setup, 'references' | 'budgetMib'>> {
  return withOwned(async (own) => {
    const server = own(await start(folder, {}));
    const references = new Map<string, string>();
    for (const model of ['copy-1', LARGE])
      for (const question of questions) {
        const { status, text } = await ask(server, KEY, model, question);
        if (status !== 200) throw new UserError(`the undisturbed server replied with status ${status}`);
        references.set(referenceKey(model, question), text);
      }
    const metrics = await (await fetch(`${server.url}/metrics`, { headers: { 'X-API-Key': KEY } })).text();
    const bytes = /^lmserv_model_memory_bytes\{model="copy-1"\} (\d+)/m.exec(metrics)?.[1];
    const budgetMib = Math.ceil((ROOM * Number(bytes)) / 2 ** 20);
    return { references, budgetMib };
  });
}

/** All copies of the demo model reply alike. */
const referenceKey = (model: string, question: string): string =>
  `${model === LARGE ? LARGE : 'copy'}: ${question}`;

function start(folder: string, settings: NodeJS.ProcessEnv): Promise<ServerProcess> {
  const server = spawnServer({
    settings: {
      LMSERV_CONFIG: join(folder, 'lmserv.config.json'),
      API_KEYS_FILE: join(folder, 'keys.json'),
      QUEUE_TIMEOUT_SECS: undefined,
      LLM_EXTRA_ARGS: undefined,
      LOG_LEVEL: 'debug',
      ...settings,
    },
  });
  return server.untilStarted(1);
}

interface Reply {
  readonly status: number;
  readonly text: string;
  /** From the request to the whole reply, milliseconds. */
  readonly ms: number;
}

async function ask(server: ServerProcess, key: string, model: string, question: string): Promise<Reply> {
  const began = performance.now();
  const body = {
    model,
    messages: [{ role: 'user', content: question }],
    temperature: 0,
    max_tokens: model === LARGE ? LARGE_TOKENS : 64,
  };
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const json = (await response.json()) as { choices?: { message: { content: string } }[] };
  const text = json.choices?.[0]?.message.content ?? JSON.stringify(json);
  return { status: response.status, text, ms: performance.now() - began };
}

interface Figures {
  readonly order: Order;
  readonly requests: number;
  readonly seconds: number;
  readonly kills: number;
  readonly loads: number;
  readonly evictions: number;
  readonly loadMs: ReturnType<typeof spread>;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly maxMs: number;
  /** Requests of the caller with the fewest, and with the most. */
  readonly fewest: number;
  readonly most: number;
  readonly budgetMib: number;
  readonly maxMib: number;
  /** What must not happen. */
  readonly faults: readonly string[];
}

function measure(setup: Setup, order: Order, { options, signal }: BenchContext): Promise<Figures> {
  return withOwned(async (own) => {
    const requests = options.quick ? QUICK_REQUESTS : REQUESTS;
    const server = own(await start(setup.folder, { LLM_MEMORY_MB: String(setup.budgetMib) }));
    const steps = own(countSteps(`${requests} requests in ${order} order`, requests));
    const killer = new Killer(server);
    const memory = own(new MemoryWatch(server));
    const random = new Random(1);
    const faults: string[] = [];
    const times: number[] = [];
    const served = setup.keys.map(() => 0);
    let sent = 0;
    const began = performance.now();
    const caller = async (_: unknown, index: number): Promise<void> => {
      for (let turn = 0; sent < requests; turn += 1) {
        signal.throwIfAborted();
        sent += 1;
        if (sent % KILL_EVERY === 0) killer.kill();
        const pick = order === 'random' ? Math.floor(random.next() * setup.names.length) : turn;
        const model = setup.names[pick % setup.names.length]!;
        const question = questions[Math.floor(random.next() * questions.length)]!;
        const { status, text, ms } = await ask(server, setup.keys[index]!, model, question);
        if (status !== 200) faults.push(`status ${status} for ${model}: ${text.slice(0, 200)}`);
        else if (text !== setup.references.get(referenceKey(model, question)))
          faults.push(`${model} replied ${JSON.stringify(text)} to ${JSON.stringify(question)}`);
        times.push(ms);
        served[index]! += 1;
        steps.step();
      }
    };
    await Promise.all(setup.keys.map(caller));
    const seconds = (performance.now() - began) / 1000;
    await memory.stop();
    const { budgetMib } = setup;
    const evictions = server.logged('model_unload').filter(({ reason }) => reason === 'evicted').length;
    const loadTimes = server.logged('model_loaded').map(({ ms }) => Number(ms));
    if (memory.maxMib > budgetMib * GROWTH) faults.push(`${figure(memory.maxMib)} MiB of ${budgetMib}`);
    faults.push(...busyEvictions(server.lines));
    if (Math.min(...served) * 2 < Math.max(...served))
      faults.push(`a caller got ${Math.min(...served)} replies, another ${Math.max(...served)}`);
    return {
      ...{ order, requests, seconds, budgetMib, evictions, faults },
      kills: killer.kills,
      loads: loadTimes.length,
      loadMs: spread(loadTimes),
      p50Ms: quantile(times, 0.5),
      p95Ms: quantile(times, 0.95),
      maxMs: quantile(times, 1),
      fewest: Math.min(...served),
      most: Math.max(...served),
      maxMib: memory.maxMib,
    };
  });
}

/** Unloads of a model that had begun a reply and not finished it, as the log tells. */
export function busyEvictions(lines: readonly LogLine[]): string[] {
  const running = new Map<string, Set<string>>();
  const modelOf = new Map<string, string>();
  const faults: string[] = [];
  for (const line of lines) {
    const { event, requestId, worker, model, reason } = line as Readonly<Record<string, string>>;
    if (event === 'generation_started') {
      const name = worker!.split('#')[0]!;
      running.get(modelOf.get(requestId!) ?? '')?.delete(requestId!);
      modelOf.set(requestId!, name);
      running.set(name, (running.get(name) ?? new Set()).add(requestId!));
    } else if (event === 'generation_end') running.get(modelOf.get(requestId!) ?? '')?.delete(requestId!);
    else if (event === 'model_unload' && (running.get(model!)?.size ?? 0) > 0)
      faults.push(`${model} was unloaded (${reason}) while it served`);
  }
  return faults;
}

/** Kills random workers that are ready. */
class Killer {
  kills = 0;
  readonly #server: ServerProcess;
  readonly #random = new Random(2);
  /** The models of the last victims, which have to come back first. */
  #spared: string[] = [];

  constructor(server: ServerProcess) {
    this.#server = server;
  }

  kill(): void {
    const ready = this.#server.workers.filter(
      ({ ready, id }) => ready && !this.#spared.includes(id.split('#')[0]!),
    );
    const victim = ready[Math.floor(this.#random.next() * ready.length)];
    // The process id of one that has just been unloaded may be another's.
    if (victim === undefined || stillLlama([victim.pid]).length === 0) return;
    process.kill(victim.pid, 'SIGKILL');
    this.kills += 1;
    this.#spared = [victim.id.split('#')[0]!, ...this.#spared].slice(0, 2);
  }
}

/** Adds up what all workers have of their own, again and again: pages of files can be dropped, and most are shared. */
class MemoryWatch {
  maxMib = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(server: ServerProcess) {
    this.#timer = setInterval(() => {
      const mib = stillLlama(server.workers.map(({ pid }) => pid)).map((pid) => memoryMib(pid, 'RssAnon'));
      this.maxMib = Math.max(
        this.maxMib,
        mib.filter(Number.isFinite).reduce((all, each) => all + each, 0),
      );
    }, LOOK_EVERY_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
  }
}

const HEAD = [
  ...['order', 'requests', 's', 'kills', 'loads', 'evictions', 'load ms', 'p50 ms', 'p95 ms', 'max ms'],
  ...['fewest–most', 'MiB of'],
];

function describe(rows: readonly Figures[]): string {
  return formatTable(
    HEAD,
    rows.map((row) => [
      row.order,
      ...[row.requests, row.seconds, row.kills, row.loads, row.evictions].map(figure),
      `${figure(row.loadMs.median)} (${figure(row.loadMs.min)}–${figure(row.loadMs.max)})`,
      ...[row.p50Ms, row.p95Ms, row.maxMs].map(figure),
      `${row.fewest}–${row.most}`,
      `${figure(row.maxMib)} of ${row.budgetMib}`,
    ]),
  );
}
