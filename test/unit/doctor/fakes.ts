import type { Probe } from '../../../src/doctor/probe.js';
import type { PathFacts } from '../../../src/install/models/inspect.js';
import { Facts } from '../../../src/doctor/facts.js';
import type { Finding, Level } from '../../../src/doctor/findings.js';
import type { CheckedModel, ServerSettings, Settings } from '../../../src/doctor/settings.js';
import { gguf, type Entry } from './gguf-bytes.js';

const GB = 1e9;

export const FILE: PathFacts = { kind: 'file', size: 100, mode: 0o600, readable: true, writable: true };
export const FOLDER: PathFacts = { ...FILE, kind: 'folder', mode: 0o755 };

/** A small model with a template. */
export const MODEL: readonly Entry[] = [
  ['general.architecture', 'string', 'llama'],
  ['general.name', 'string', 'Tiny'],
  ['llama.context_length', 'u32', 2048],
  ['llama.block_count', 'u32', 4],
  ['llama.embedding_length', 'u32', 32],
  ['llama.attention.head_count', 'u32', 4],
  ['llama.attention.head_count_kv', 'u32', 2],
  ['tokenizer.chat_template', 'string', '{{ messages }}'],
];

export const checkedModel = (changes: Partial<CheckedModel> = {}): CheckedModel => ({
  id: 'tiny',
  path: '/models/tiny.gguf',
  binPath: undefined,
  workers: 1,
  slots: 1,
  context: 1024,
  threads: 1,
  gpuLayers: undefined,
  gpus: [],
  extraArgs: [],
  cacheRamMb: undefined,
  isLoadedAtStart: true,
  ...changes,
});

const serverSettings = (changes: Partial<ServerSettings> = {}): ServerSettings => ({
  host: '127.0.0.1',
  port: 8000,
  apiKey: 'a-key-of-some-length',
  open: false,
  keysFile: undefined,
  dataDir: '/srv/data',
  models: [checkedModel()],
  catalogue: {
    file: { models: {}, remotes: {}, groups: {}, tenants: {} },
    ...{ folders: [], downloads: '/models', reserved: [], demo: '/models/demo.gguf' },
    settings: { workers: 1, context: 4096, gpus: [], extraArgs: [], lora: [] },
  },
  ...changes,
});

/** What a test changes of a machine in good order. */
export interface Machine {
  readonly probe?: Partial<Probe>;
  /** Paths that exist, besides the model and /srv. */
  readonly paths?: Readonly<Record<string, PathFacts>>;
  /** Output by program name. */
  readonly programs?: Readonly<Record<string, string>>;
  readonly header?: Buffer;
  readonly modelSize?: number;
  readonly settings?: Partial<Settings>;
  readonly server?: Partial<ServerSettings>;
}

export function facts(machine: Machine = {}): Facts {
  const { header = gguf(MODEL), server, settings } = machine;
  const paths: Record<string, PathFacts> = {
    '/models/tiny.gguf': { ...FILE, size: machine.modelSize ?? header.length },
    '/srv': FOLDER,
    ...machine.paths,
  };
  const programs: Record<string, string> = {
    '/bin/llama-cli': 'Available devices:\n  (none)\n',
    sh: '4096\n',
    ...machine.programs,
  };
  const probe: Probe = {
    node: '22.1.0',
    platform: 'linux',
    cores: 4,
    memory: { total: 8 * GB, free: 6 * GB, limit: undefined },
    exec: async (file) => programs[file],
    readCards: async () => [],
    findProgram: async (name) => `/usr/bin/${name}`,
    stat: async (path) => paths[path],
    readText: async () => '{"keys": []}',
    readHead: async (_path, bytes) => header.subarray(0, bytes),
    freeBytes: async () => 50 * GB,
    tryListen: async () => undefined,
    getText: async () => undefined,
    getJson: async () => undefined,
    resolveBinary: async () => ({ path: '/bin/llama-cli', kind: 'llama-cli', version: '1.2.3' }),
    lookAtModels: async ({ file }) => ({ file, unusable: [] }),
    chooseBuild: async () => ({ candidates: [{ flavour: 'cpu', reason: 'no GPU' }], notes: [] }),
    findDownloaded: async () => undefined,
    ...machine.probe,
  };
  return new Facts(probe, {
    problems: [],
    notes: [],
    envFile: '/app/.env',
    envFileSecrets: [],
    secrets: [],
    server: serverSettings(server),
    ...settings,
  });
}

export const like = (part: string): string => expect.stringContaining(part) as string;

/** A finding with at least these fields. */
export const having = (level: Level, found?: string, todo?: string): Finding =>
  expect.objectContaining({ level, ...(found && { found }), ...(todo && { todo }) });

type Check = (facts: Facts) => Finding | Finding[] | Promise<Finding | Finding[]>;

/** Tests the one finding of a check on machines that differ from one in good order. */
export function testCheck(subject: string, check: Check, rows: [title: string, Machine, Finding][]): void {
  test.each(rows)(`${subject} %s`, async (_, machine, expected) => {
    expect([await check(facts(machine))].flat()).toEqual([expected]);
  });
}
