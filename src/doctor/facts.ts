import type { ResolvedBinary } from '../../workers/binary.js';
import { parseDevices, type Device } from '../../workers/devices.js';
import { isOnHub } from '../config/model-path.js';
import { inspectModel } from '../install/models/inspect.js';
import type { Card } from '../observe/gpus.js';
import { connectUrl } from '../wire/address.js';
import { fileFacts } from '../catalogue/facts.js';
import type { ModelFile } from './needs.js';
import type { Probe } from './probe.js';
import type { CheckedModel, ServerSettings, Settings } from './settings.js';

/** A model as a running LMServ lists it. */
export interface ListedModel {
  readonly id: string;
  readonly state?: string;
  readonly context_length?: number | null;
  readonly quantization?: string | null;
  readonly parameters?: number | null;
  readonly capabilities?: readonly string[];
}

/** Finds out once what several checks need. */
export class Facts {
  readonly #known = new Map<string, Promise<unknown>>();

  readonly probe: Probe;
  readonly settings: Settings;

  constructor(probe: Probe, settings: Settings) {
    this.probe = probe;
    this.settings = settings;
  }

  /** The server's settings; checks that ask for them are not run when there are none. */
  get server(): ServerSettings {
    if (!this.settings.server) throw new Error('the configuration cannot be read');
    return this.settings.server;
  }

  /** The binary that serves a model. Rejects with a BinaryError. */
  binary({ binPath }: Pick<CheckedModel, 'binPath'>): Promise<ResolvedBinary> {
    return this.#once(`binary ${binPath ?? ''}`, () => this.probe.resolveBinary(binPath));
  }

  /** The devices of that binary; undefined when unknown. */
  devices(model: CheckedModel): Promise<Device[] | undefined> {
    return this.#once(`devices ${model.binPath ?? ''} ${model.gpus.join()}`, async () => {
      const { path } = await this.binary(model);
      const output = await this.probe.exec(path, ['--list-devices'], model.gpus);
      return output === undefined ? undefined : parseDevices(output);
    });
  }

  /** Names of the machine's NVIDIA GPUs; a placeholder where the driver does not tell. */
  nvidiaGpus(): Promise<string[]> {
    return this.#once('gpus', async () => {
      const listed = (await this.probe.exec('nvidia-smi', ['-L'])) ?? '';
      const names = [...listed.matchAll(/^GPU \d+: (.*?)(?: \(UUID.*)?$/gm)].map(([, name]) => name!);
      if (names.length > 0) return names;
      return (await this.probe.stat('/dev/nvidia0')) ? ['an NVIDIA GPU'] : [];
    });
  }

  /** What the drivers say about the cards. */
  cards(): Promise<readonly Card[]> {
    return this.#once('cards', () => this.probe.readCards());
  }

  /** A model's file and what its header says. Rejects with a ModelError; undefined: still to be fetched. */
  modelFile(model: CheckedModel): Promise<ModelFile | undefined> {
    return this.#once(`model ${model.path}`, () => readModel(this.probe, model.path));
  }

  /** Whether the server's port is free: undefined, or the system's error code. */
  listening(): Promise<string | undefined> {
    const { host, port } = this.server;
    return this.#once('listening', () => this.probe.tryListen(host, port));
  }

  /** Whether an LMServ listens on the port. */
  lmservRuns(): Promise<boolean> {
    return this.#once('lmserv', async () => {
      if ((await this.listening()) !== 'EADDRINUSE') return false;
      return (
        (await this.probe.getText(`${connectUrl(this.server.host, this.server.port)}/`))?.startsWith(
          'LMServ is running.',
        ) ?? false
      );
    });
  }

  /** The models that an LMServ on the port lists; undefined if none does, or not for this key. */
  async listedModels(): Promise<readonly ListedModel[] | undefined> {
    if (!(await this.lmservRuns())) return undefined;
    const { host, port, apiKey } = this.server;
    const list = await this.probe.getJson(`${connectUrl(host, port)}/v1/models`, apiKey);
    return (list as { data?: ListedModel[] } | undefined)?.data;
  }

  /** Ids of the workers of a running LMServ that lack their GPU; undefined if none runs. */
  async lackingGpu(): Promise<readonly string[] | undefined> {
    if (!(await this.lmservRuns())) return undefined;
    const { host, port, apiKey } = this.server;
    const health = await this.probe.getJson(`${connectUrl(host, port)}/ready`, apiKey);
    return health === undefined ? undefined : ((health as { lackingGpu?: string[] }).lackingGpu ?? []);
  }

  #once<T>(name: string, find: () => Promise<T>): Promise<T> {
    const known = this.#known.get(name) ?? find();
    this.#known.set(name, known);
    return known as Promise<T>;
  }
}

async function readModel(probe: Probe, name: string): Promise<ModelFile | undefined> {
  const path = isOnHub(name) ? await probe.findDownloaded(name) : name;
  if (path === undefined) return undefined;
  const { header, size } = await inspectModel(path, probe);
  return { path, size, facts: fileFacts(header) };
}
