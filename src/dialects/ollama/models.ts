import { createHash } from 'node:crypto';
import type { Capability, ModelInfo, ModelMemory, WorkerInfo } from '../../contract.js';

/** Models in the words of Ollama's lists. */

/** The version of Ollama whose API this is: clients refuse older ones. */
export const OLLAMA_VERSION = '0.13.0';

/** Ollama's capabilities by LMServ's. */
const CAPABILITIES: Partial<Record<Capability, string>> = {
  chat: 'completion',
  embed: 'embedding',
  images: 'vision',
  tools: 'tools',
  reasoning: 'thinking',
};

/** `GET /api/tags`. */
export function tagsObject(list: readonly ModelInfo[]) {
  return { models: list.map(listed) };
}

/** `POST /api/show`; what is not known is left out, or empty where clients need a text. */
export function showObject(model: ModelInfo) {
  const { architecture = 'unknown', contextLength, parameters, capabilities = [] } = model.details ?? {};
  const facts = [
    ['general.architecture', architecture],
    ['general.basename', model.id],
    ['general.parameter_count', parameters],
    [`${architecture}.context_length`, contextLength],
  ].filter(([, value]) => value !== undefined);
  return {
    license: '',
    modelfile: `FROM ${model.id}\n`,
    parameters: contextLength === undefined ? '' : `num_ctx                        ${contextLength}`,
    template: '',
    details: detailsOf(model),
    model_info: Object.fromEntries(facts) as Record<string, unknown>,
    capabilities: capabilities.flatMap((capability) => CAPABILITIES[capability] ?? []),
    modified_at: isoDate(model.created * 1_000),
  };
}

/** What is in memory: a local model, the facts about it, and its workers. */
export interface Resident {
  readonly memory: ModelMemory;
  readonly model: ModelInfo;
  readonly workers: readonly WorkerInfo[];
}

/** When a model leaves that stays: the last year that all clients can read. */
const NEVER = '9999-12-31T23:59:59.000Z';

/**
 * `GET /api/ps`.
 *
 * @param idleMs after which unused models leave, milliseconds; 0: never.
 * @param staying the ids of models that are not unloaded for being unused.
 * @param now Unix time, milliseconds.
 */
export function psObject(
  residents: readonly Resident[],
  idleMs: number,
  staying: readonly string[],
  now: number,
) {
  const models = residents.map(({ memory, model, workers }) => {
    const stays = memory.pinned || idleMs === 0 || staying.includes(model.id);
    const from = memory.busy ? now : (memory.lastUsed ?? now);
    const { modified_at: _, ...fields } = listed(model);
    return {
      ...fields,
      size: memory.bytes ?? fields.size,
      size_vram: workers.reduce((bytes, worker) => bytes + bytesOnGpus(worker), 0),
      expires_at: stays ? NEVER : isoDate(from + idleMs),
      context_length: model.details?.contextLength ?? 0,
    };
  });
  return { models };
}

function bytesOnGpus({ memory = [] }: WorkerInfo): number {
  return memory
    .filter(({ device }) => device !== 'host')
    .reduce((bytes, { model, context, compute }) => bytes + model + context + compute, 0);
}

function listed(model: ModelInfo) {
  const name = nameOf(model.id);
  return {
    name,
    model: name,
    modified_at: isoDate(model.created * 1_000),
    size: model.details?.sizeBytes ?? 0,
    digest: digestOf(model),
    details: detailsOf(model),
  };
}

/** Ollama's names always have a tag, and some clients add it to those that have none. */
function nameOf(id: string): string {
  return /:[^/]*$/.test(id) ? id : `${id}:latest`;
}

/** Changes with the model; of its facts, because reading a whole file would take too long. */
function digestOf({ id, created, details }: ModelInfo): string {
  return createHash('sha256')
    .update(JSON.stringify([id, created, details?.sizeBytes]))
    .digest('hex');
}

function detailsOf({ details }: ModelInfo) {
  const { architecture, parameters, quantization } = details ?? {};
  return {
    parent_model: '',
    format: architecture === undefined ? '' : 'gguf',
    family: architecture ?? '',
    families: architecture === undefined ? [] : [architecture],
    parameter_size: parameters === undefined ? '' : shortNumber(parameters),
    quantization_level: quantization === undefined ? '' : shortQuantization(quantization),
  };
}

/** As in `8.0B`. */
function shortNumber(count: number): string {
  const [unit, size] = UNITS.find(([, least]) => count >= least) ?? ['', 1];
  return `${(count / size).toFixed(unit === '' ? 0 : 1)}${unit}`;
}

const UNITS: readonly [string, number][] = [
  ['T', 1e12],
  ['B', 1e9],
  ['M', 1e6],
  ['K', 1e3],
];

/** llama.cpp's `Q4_K - Medium` is `Q4_K_M`. */
function shortQuantization(name: string): string {
  return name
    .replace(/^all /, '')
    .replace(/ - (?:Small|Medium|Large)$/, (size) => `_${size[3]}`)
    .replace(/ - .*$/, '');
}

function isoDate(ms: number): string {
  return new Date(ms).toISOString();
}
