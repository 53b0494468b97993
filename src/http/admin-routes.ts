/** `/admin/models`: which models are in memory, for operators. */

import type { Request, RequestHandler, Response } from 'express';
import type { ModelControl, ModelInfo, ModelMemory } from '../contract.js';
import { LMServError } from '../errors.js';
import { callerOf } from './context.js';

/** The models of this machine and their files, as far as operators see them. */
export interface AdminSource {
  readonly memory: ModelControl;
  readonly registry: {
    list(): readonly ModelInfo[];
    /** The models that a name means; none if there is no such name. */
    modelsOf(name: string): readonly string[];
  };
  /** Files that are not served, with the reasons. */
  unusable(): readonly { readonly shown: string; readonly reason: string }[];
}

/**
 * Lets admins pass: those with an admin's key, and while there are no keys, clients on this machine. A page of another
 * origin may do nothing, whoever visits it.
 */
export const requireAdmin: RequestHandler = (request, response, next) => {
  const objection = objectionTo(request, response);
  if (objection !== undefined) throw new LMServError('forbidden', objection);
  next();
};

/** Why a request may not do what only admins may; undefined if it may. */
export function objectionTo(request: Request, response: Response): string | undefined {
  const { origin, 'sec-fetch-site': site } = request.headers;
  if (site === 'cross-site' || (origin !== undefined && !isOwnOrigin(origin, request.host)))
    return 'Pages of other origins may not do that';
  const { admin, address } = callerOf(response);
  if (!admin) return 'Only an admin key may do that';
  // Callers without a key have an address.
  if (address !== undefined && !isLocal(request))
    return 'Without keys only this machine may do that; set API_KEY';
  return undefined;
}

function isOwnOrigin(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

/** What a proxy adds: its clients are elsewhere, whatever its own address. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];

function isLocal({ headers, socket }: Request): boolean {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  return (
    (address === '::1' || address.startsWith('127.')) &&
    FORWARDED.every((name) => headers[name] === undefined)
  );
}

/** `GET /admin/models`. */
export function listModels(source: AdminSource): RequestHandler {
  return (_request, response) => {
    const data = source.memory.models().map((model) => describe(model, source));
    const skipped = source.unusable().map(({ shown, reason }) => ({ file: shown, reason }));
    response.json({ object: 'list', data, skipped });
  };
}

/** `POST /admin/models/:id/:action`; a client that leaves does not end the action. @throws LMServError. */
export function changeModel(source: AdminSource): RequestHandler {
  return async (request, response) => {
    const { id: name, action } = request.params as { id: string; action: string };
    const act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action as keyof typeof ACTIONS] : undefined;
    if (!act) throw new LMServError('not_found', `The actions are ${Object.keys(ACTIONS).join(', ')}`);
    const id = idOf(name, source);
    await act(source.memory, id);
    const model = source.memory.models().find((candidate) => candidate.id === id);
    if (!model) throw new LMServError('model_not_found');
    response.json(describe(model, source));
  };
}

const ACTIONS = {
  load: (memory: ModelControl, id: string) => memory.load(id),
  unload: (memory: ModelControl, id: string) => memory.unload(id),
  pin: async (memory: ModelControl, id: string) => memory.pin(id),
  unpin: async (memory: ModelControl, id: string) => memory.unpin(id),
};

/** The model that a name means, which may be an alias. @throws LMServError. */
function idOf(name: string, { memory, registry }: AdminSource): string {
  const models = registry.modelsOf(name);
  const [id, another] = models;
  if (id === undefined) throw new LMServError('model_not_found', `There is no model ${JSON.stringify(name)}`);
  if (another !== undefined)
    throw new LMServError('invalid_value', `${name} is a group; name one of ${models.join(', ')}`);
  if (memory.models().some((model) => model.id === id)) return id;
  throw new LMServError('invalid_value', `${id} is not a model of this machine`);
}

/** What is not known is null. */
function describe(model: ModelMemory, { registry }: AdminSource) {
  const { contextLength, sizeBytes, quantization, parameters } =
    registry.list().find(({ id }) => id === model.id)?.details ?? {};
  return {
    id: model.id,
    object: 'model',
    state: model.state,
    pinned: model.pinned,
    busy: model.busy,
    memory_bytes: model.bytes ?? null,
    memory_estimated: model.estimated,
    last_used: model.lastUsed === undefined ? null : Math.floor(model.lastUsed / 1000),
    load_ms: model.loadMs ?? null,
    error: model.error ?? null,
    size_bytes: sizeBytes ?? null,
    quantization: quantization ?? null,
    context_length: contextLength ?? null,
    parameters: parameters ?? null,
  };
}
