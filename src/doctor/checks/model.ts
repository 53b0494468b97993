/** The models: their files, and whether they fit into memory. */
import { formatBytes } from '../../install/progress.js';
import { ModelError } from '../../install/models/spec.js';
import type { Facts, ListedModel } from '../facts.js';
import { type ModelFile, needOf, sumOf, type Need } from '../needs.js';
import { fail, ok, warn, type Finding } from '../findings.js';
import type { CheckedModel } from '../settings.js';

const NONE = 'no model on this machine to check';

/** One line for each model. */
export async function checkModel(facts: Facts): Promise<Finding[]> {
  const { models } = facts.server;
  if (models.length === 0) return [ok(NONE)];
  return Promise.all(models.map((model) => modelFinding(facts, model)));
}

async function modelFinding(facts: Facts, model: CheckedModel): Promise<Finding> {
  try {
    const file = await facts.modelFile(model);
    return file
      ? describe(model, file)
      : warn(`${model.path} is not here yet`, 'the first start fetches it; or now: npm run model');
  } catch (error) {
    if (error instanceof ModelError) return fail(error.message, 'get a model with npm run model');
    throw error;
  }
}

function describe(model: CheckedModel, { path, size, facts }: ModelFile): Finding {
  const { architecture, name, trainedContext, chatTemplate, task } = facts;
  if (architecture === undefined)
    return fail(`${path} names no architecture, so it is no model`, 'get one with npm run model');
  const what = [
    name ?? model.id,
    architecture,
    formatBytes(size),
    trainedContext && `trained with ${trainedContext} tokens`,
  ];
  const found = `${what.filter(Boolean).join(', ')}: ${path}`;
  if (trainedContext !== undefined && model.context > trainedContext) {
    return warn(
      `${found}; the context of ${model.context} is longer`,
      `set LLM_CTX_SIZE (context) to ${trainedContext} or less`,
    );
  }
  if (!chatTemplate && task === 'chat')
    return warn(`${found}; it has no chat template`, 'use an instruction-tuned model for chats');
  return ok(found);
}

/** The files in the folders of models: which are served, and why others are not. */
export async function checkModelFiles({ probe, server }: Facts): Promise<Finding> {
  const { catalogue } = server;
  const { file, unusable } = await probe.lookAtModels(catalogue);
  const added = Object.keys(file.models).filter((name) => !(name in catalogue.file.models));
  const served = added.length === 0 ? 'none but the configured ones' : `served on request: ${listed(added)}`;
  const others = unusable.map(({ shown, reason }) => `${shown}: ${reason}`);
  return ok(others.length === 0 ? served : `${served}; not: ${listed(others, '; ')}`);
}

/** The most that a line names. */
const MAX_LISTED = 20;

function listed(items: readonly string[], separator = ', '): string {
  const more = items.length - MAX_LISTED;
  const shown = items.slice(0, MAX_LISTED).join(separator);
  return more > 0 ? `${shown}${separator}and ${more} more` : shown;
}

/** What an LMServ that runs here has learned of each model. */
export async function checkCapabilities(facts: Facts): Promise<Finding | Finding[]> {
  const listed = await facts.listedModels();
  if (listed === undefined) return ok('what a model can do is shown while LMServ runs');
  const models = facts.server.models.flatMap(({ id }) => listed.find((model) => model.id === id) ?? []);
  return models.length === 0 ? ok(NONE) : models.map(capabilities);
}

function capabilities({ id, state, capabilities: able = [], ...model }: ListedModel): Finding {
  const { context_length: context, quantization, parameters } = model;
  const what = [
    state,
    parameters && `${(parameters / 1e9).toPrecision(2)} billion parameters`,
    quantization,
    context && `${context} tokens`,
    able.join(', '),
  ];
  const found = `${id}: ${what.filter(Boolean).join('; ')}`;
  return state === 'failed' ? warn(found, 'see its last lines in the log') : ok(found);
}

/** Workers and their contexts against what this machine has. */
export async function checkMemory(facts: Facts): Promise<Finding> {
  const needs = await needsByPlace(facts);
  const { total, free } = facts.probe.memory;
  if (needs.main.total === 0) return ok(`${formatBytes(free)} of ${formatBytes(total)} are free`);
  const found = `${told(needs.main)}; ${formatBytes(free)} of ${formatBytes(total)} are free`;
  const less = 'take a smaller model or quantisation, or lower LLM_WORKERS, LLM_SLOTS or LLM_CTX_SIZE';
  if (needs.main.least > total) return fail(found, less);
  // A server that runs here already has its memory, so what is left says nothing.
  if (needs.main.total > free && !(await facts.lmservRuns())) return warn(found, less);
  return ok(found);
}

/** The same for the GPUs. */
export async function checkGpuMemory(facts: Facts): Promise<Finding> {
  const { gpu, devices } = await needsByPlace(facts);
  if (devices.length === 0) return ok('no GPU in use');
  const sum = (field: 'total' | 'free') => devices.reduce((bytes, device) => bytes + device[field], 0);
  const found = `${told(gpu)}; ${formatBytes(sum('free'))} of ${formatBytes(sum('total'))} are free`;
  const short = gpu.total > sum('total') || (gpu.total > sum('free') && !(await facts.lmservRuns()));
  if (!short) return ok(found);
  return warn(
    found,
    'lower LLM_WORKERS, use LLM_SLOTS in its place, or set LLM_GPU_LAYERS to keep layers on the CPU',
  );
}

/** A container's limit ends workers without a word. */
export async function checkMemoryLimit(facts: Facts): Promise<Finding> {
  const { limit } = facts.probe.memory;
  if (limit === undefined) return ok('none');
  const { main } = await needsByPlace(facts);
  if (main.total <= limit) return ok(formatBytes(limit));
  return warn(
    `${formatBytes(limit)} for this control group, and ${told(main)}`,
    'raise the memory limit of the container or unit',
  );
}

function told({ weights, contexts, promptCache, total, onRequest }: Together): string {
  const cache = promptCache > 0 ? `, prompt cache ${formatBytes(promptCache)}` : '';
  const largest = onRequest > 1 ? ` with the largest of ${onRequest} models that are loaded on request` : '';
  return `about ${formatBytes(total)} are needed${largest} (weights ${formatBytes(weights)} for each worker, contexts ${formatBytes(contexts)}${cache})`;
}

interface Together extends Need {
  /** Models that are loaded on request. */
  readonly onRequest: number;
}

/** Models that are loaded on request give way to each other, so only the largest of them counts. */
function togetherOf(rows: readonly { readonly model: CheckedModel; readonly need: Need }[]): Together {
  const needs = (atStart: boolean) =>
    rows.filter(({ model }) => model.isLoadedAtStart === atStart).map(({ need }) => need);
  const others = needs(false).sort((a, b) => b.total - a.total);
  return { ...sumOf([...needs(true), ...others.slice(0, 1)]), onRequest: others.length };
}

/** What goes to main memory and what to the GPUs, of the models whose files can be read. */
async function needsByPlace(facts: Facts) {
  const rows = await Promise.all(
    facts.server.models.map(async (model) => {
      const file = await facts.modelFile(model).catch(() => undefined);
      const devices = model.gpuLayers === 0 ? [] : await facts.devices(model).catch(() => undefined);
      return file && { model, need: needOf(model, file), devices: devices ?? [] };
    }),
  );
  const known = rows.filter((row) => row !== undefined);
  const needs = (onGpu: boolean) => togetherOf(known.filter(({ devices }) => devices.length > 0 === onGpu));
  const devices = known.flatMap((row) => row.devices);
  return {
    main: needs(false),
    gpu: needs(true),
    devices: [...new Map(devices.map((device) => [device.id, device])).values()],
  };
}
