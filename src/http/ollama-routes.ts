/** Ollama's routes that generate nothing. */

import type { Express, RequestHandler } from 'express';
import { z } from 'zod';
import type { ModelControl, ModelInfo, WorkerInfo } from '../contract.js';
import * as ollama from '../dialects/ollama/models.js';
import { modelName } from '../dialects/shared/fields.js';
import { validate } from '../dialects/shared/validate.js';
import { LMServError } from '../errors.js';
import { allowOnly, type ModelSource } from './read-routes.js';

/** The models as Ollama's clients see them. */
export interface OllamaSource {
  readonly backends: ModelSource & {
    /** The workers of each model; absent if there are none. */
    served?(): readonly { readonly model: string; readonly workers: readonly WorkerInfo[] }[];
  };
  /** Absent where no model is loaded and unloaded. */
  readonly memory: ModelControl | undefined;
  /** After which unused models are unloaded, milliseconds; 0 is never. */
  readonly idleMs: number;
}

/** @param body the handlers that read a JSON body. */
export function ollamaRoutes(app: Express, source: OllamaSource, body: readonly RequestHandler[]): void {
  const get = (path: string, handler: RequestHandler) =>
    app.route(path).get(handler).all(allowOnly('GET', 'HEAD'));
  get('/api/version', (_request, response) => void response.json({ version: ollama.OLLAMA_VERSION }));
  get('/api/tags', async (_request, response) => {
    await source.backends.learned?.();
    response.json(ollama.tagsObject(source.backends.registry.list()));
  });
  get('/api/ps', async (_request, response) => {
    await source.backends.learned?.();
    const { defaultModels } = source.backends.registry;
    response.json(ollama.psObject(residents(source), source.idleMs, defaultModels, Date.now()));
  });
  app
    .route('/api/show')
    .post(...body, show(source))
    .all(allowOnly('POST'));
  for (const path of NOT_HERE) app.all(path, notHere);
}

/** What changes the files of the server's models. */
const NOT_HERE = ['pull', 'push', 'create', 'copy', 'delete', 'blobs/*rest'].map((name) => `/api/${name}`);

const notHere: RequestHandler = () => {
  throw new LMServError(
    'not_implemented',
    'Models are added and removed as files of the server, not over the API',
  );
};

function residents({ backends, memory }: OllamaSource): ollama.Resident[] {
  const known = new Map(backends.registry.list().map((model) => [model.id, model]));
  const workers = new Map(backends.served?.().map((served) => [served.model, served.workers]));
  return (memory?.models() ?? [])
    .filter(({ state }) => state === 'loaded' || state === 'loading')
    .flatMap((resident) => {
      const model = known.get(resident.id);
      return model ? [{ memory: resident, model, workers: workers.get(resident.id) ?? [] }] : [];
    });
}

/** `name` is the older name of the field. */
const asked = z.object({ model: modelName, name: modelName });

function show({ backends }: OllamaSource): RequestHandler {
  return async (request, response) => {
    const { model, name = model } = validate(asked, request.body);
    await backends.learned?.();
    const found = findModel(backends.registry.list(), model ?? name ?? backends.registry.defaultId);
    if (!found) throw new LMServError('model_not_found');
    response.json(ollama.showObject(found));
  };
}

function findModel(list: readonly ModelInfo[], name: string | undefined): ModelInfo | undefined {
  const find = (id: string | undefined) => list.find((model) => model.id === id);
  return find(name) ?? find(name?.endsWith(':latest') ? name.slice(0, -':latest'.length) : `${name}:latest`);
}
