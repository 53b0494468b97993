import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Request, RequestHandler } from 'express';
import type { BackendStatus, Caller, ModelDetails, ModelInfo, ModelState } from '../contract.js';
import { anthropicModel, anthropicModels } from '../dialects/anthropic/models.js';
import { LMServError, toLMServError } from '../errors.js';
import type { Gpu } from '../observe/gpus.js';
import { callerOf, contextOf, type RequestContext } from './context.js';

/** The models and their backends, as far as they are read here. */
export interface ModelSource {
  /** Of each backend. */
  status(): readonly BackendStatus[];
  /** Resolves when all is learned of the running models that can be, within seconds of their start. */
  learned?(): Promise<void>;
  readonly registry: {
    /** Models, groups and their aliases. */
    list(): readonly ModelInfo[];
    /** The model or group for requests that name none. */
    readonly defaultId: string | undefined;
    readonly defaultModels: readonly string[];
    /** Whether any model may take images. */
    readonly takesImages: boolean;
  };
}

/** All metrics in Prometheus' text form. */
export interface MetricsSource {
  expose(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** Reports of usage. */
export interface UsageSource {
  /** @throws LMServError for a bad query or another caller's tenant. */
  report(
    caller: Caller,
    query: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly contentType: string; readonly pieces: AsyncIterable<string> }>;
}

export interface Health extends Omit<BackendStatus, 'ready' | 'starting'> {
  readonly status: 'ok' | 'starting' | 'unavailable' | 'draining';
  readonly model: string;
  readonly version: string;
  /** Number of local models by state. */
  readonly models: Readonly<Record<ModelState, number>>;
}

/** What health checks say about GPUs in JSON; nothing where there are none. */
export interface GpuHealth {
  /** The GPUs that workers may use; memory in bytes, temperature in degrees Celsius, power in watts. */
  readonly gpus?: readonly Gpu[];
  /** Ids of workers that compute on the CPU although layers on a GPU were requested. */
  readonly lackingGpu?: readonly string[];
}

/** `GET /`. */
export const root: RequestHandler = (_request, response) => {
  response.type('text/plain').send('LMServ is running.');
};

/** The health of the whole server, which is ok if at least one backend can serve. */
export function healthOf(source: ModelSource, draining: boolean, version: string): Health {
  const states = source.status();
  const sum = (pick: (state: BackendStatus) => number) =>
    states.reduce((total, state) => total + pick(state), 0);
  const count = (wanted: ModelState) => sum(({ state }) => Number(state === wanted));
  return {
    status: draining ? 'draining' : readiness(states),
    workers: {
      total: sum(({ workers }) => workers.total),
      idle: sum(({ workers }) => workers.idle),
      busy: sum(({ workers }) => workers.busy),
      starting: sum(({ workers }) => workers.starting),
      dead: sum(({ workers }) => workers.dead),
    },
    slots: { total: sum(({ slots }) => slots.total), idle: sum(({ slots }) => slots.idle) },
    queue: { waiting: sum(({ queue }) => queue.waiting), limit: sum(({ queue }) => queue.limit) },
    model: source.registry.defaultId ?? '',
    version,
    models: {
      loaded: count('loaded'),
      loading: count('loading'),
      unloaded: count('unloaded'),
      failed: count('failed'),
    },
  };
}

/** A model that can be loaded can serve, but while the server starts, a model in memory is worth waiting for. */
function readiness(states: readonly BackendStatus[]): Health['status'] {
  if (states.some(({ ready, state = 'loaded' }) => ready && state === 'loaded')) return 'ok';
  if (states.some(({ starting }) => starting)) return 'starting';
  return states.some(({ ready }) => ready) ? 'ok' : 'unavailable';
}

/** `GET /health`: text for people and load balancers, JSON if the client asks for it or `format` says so. */
export function health(
  read: () => Health,
  format: 'text' | 'json',
  readGpus: () => GpuHealth = () => ({}),
): RequestHandler {
  return (request, response) => {
    const state = read();
    response.status(state.status === 'ok' ? 200 : 503);
    if (state.status !== 'ok') response.setHeader('Retry-After', 1);
    const explicit = /application\/json/i.test(request.headers.accept ?? '');
    if (format === 'json' || explicit) response.json({ ...state, ...readGpus() });
    else
      response
        .type('text/plain')
        .send(state.status === 'ok' ? `ok – workers idle: ${state.workers.idle}` : state.status);
  };
}

/** `GET /v1/models`, in Anthropic's form for its clients. */
export function models(source: ModelSource): RequestHandler {
  return async (request, response) => {
    await source.learned?.();
    const list = source.registry.list();
    response.json(
      isAnthropic(request) ? anthropicModels(list) : { object: 'list', data: list.map(modelObject) },
    );
  };
}

/** `GET /v1/models/:id`; an id may contain slashes. @throws LMServError `model_not_found`. */
export function model(source: ModelSource): RequestHandler {
  return async (request, response) => {
    await source.learned?.();
    const id = ([] as string[]).concat(request.params.id ?? []).join('/');
    const found = source.registry.list().find((candidate) => candidate.id === id);
    if (!found) throw new LMServError('model_not_found');
    response.json(isAnthropic(request) ? anthropicModel(found) : modelObject(found));
  };
}

/** Whether a client of Anthropic's sent the request: they all name a version of the API. */
function isAnthropic({ headers }: Request): boolean {
  return headers['anthropic-version'] !== undefined;
}

function modelObject({ id, created, ownedBy, details }: ModelInfo) {
  return { id, object: 'model', created, owned_by: ownedBy, ...(details && detailFields(details)) };
}

/** What is not known is null. */
function detailFields({ capabilities, members, ...details }: ModelDetails) {
  return {
    state: details.state,
    context_length: details.contextLength ?? null,
    max_output_tokens: details.maxOutputTokens ?? null,
    input_modalities: capabilities.includes('images') ? ['text', 'image'] : ['text'],
    capabilities,
    size_bytes: details.sizeBytes ?? null,
    quantization: details.quantization ?? null,
    parameters: details.parameters ?? null,
    ...(members && { members }),
  };
}

/** What OpenAI stores of a reply. @throws LMServError `not_found`. */
export const notStored: RequestHandler = () => {
  throw new LMServError('not_found', 'Replies are not stored, so there is none to read, cancel or delete');
};

/** `GET /metrics`. */
export function metrics(source: MetricsSource): RequestHandler {
  return async (_request, response) => {
    const { contentType, body } = await source.expose();
    response.setHeader('Content-Type', contentType);
    // As bytes: Express would rewrite the content type of a string.
    response.send(Buffer.from(body));
  };
}

/** `GET /usage`, as fast as the client reads it; a client that leaves ends the report. */
export function usage(source: UsageSource): RequestHandler {
  return async (request, response) => {
    const { contentType, pieces } = await source.report(callerOf(response), request.query);
    response.setHeader('Content-Type', contentType);
    if (request.method === 'HEAD') return void response.end();
    // The headers have been sent: a report that fails now is cut off, and one whose client disconnects simply ends.
    await pipeline(Readable.from(noteError(pieces, contextOf(response))), response).catch(() => undefined);
  };
}

async function* noteError(pieces: AsyncIterable<string>, context: RequestContext): AsyncGenerator<string> {
  try {
    yield* pieces;
  } catch (error) {
    context.error = toLMServError(error);
    throw error;
  }
}

/** The last handler of a route: 405 for every other method, with a list of the allowed ones. */
export function allowOnly(...methods: readonly string[]): RequestHandler {
  return (_request, response) => {
    response.setHeader('Allow', methods.join(', '));
    throw new LMServError('method_not_allowed');
  };
}
