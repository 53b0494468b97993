import type { RequestHandler } from 'express';
import type { BackendStatus, ModelInfo } from '../contract.js';

export type HealthStatus = 'ok' | 'starting' | 'unavailable' | 'draining';

export interface Health extends Omit<BackendStatus, 'ready' | 'starting'> {
  readonly status: HealthStatus;
  readonly model: string;
  readonly version: string;
}

/** `GET /`. */
export const root: RequestHandler = (_request, response) => {
  response.type('text/plain').send('LMServ is running.');
};

/** `GET /health`: text for people and load balancers, JSON for who asks for it or where `format` says so. */
export function health(read: () => Health, format: 'text' | 'json'): RequestHandler {
  return (request, response) => {
    const state = read();
    response.status(state.status === 'ok' ? 200 : 503);
    if (state.status !== 'ok') response.setHeader('Retry-After', 1);
    const explicit = /application\/json/i.test(request.headers.accept ?? '');
    if (format === 'json' || explicit) response.json(state);
    else
      response
        .type('text/plain')
        .send(state.status === 'ok' ? `ok – workers idle: ${state.workers.idle}` : state.status);
  };
}

/** `GET /v1/models`. */
export function models(list: () => readonly ModelInfo[]): RequestHandler {
  return (_request, response) => {
    response.json({ object: 'list', data: list().map(modelObject) });
  };
}

/** `GET /v1/models/:id`; an id may hold slashes. Calls `next` for one that is unknown. */
export function model(list: () => readonly ModelInfo[]): RequestHandler {
  return (request, response, next) => {
    const id = ([] as string[]).concat(request.params.id ?? []).join('/');
    const found = list().find((candidate) => candidate.id === id);
    if (found) response.json(modelObject(found));
    else next();
  };
}

function modelObject(info: ModelInfo) {
  return { id: info.id, object: 'model', created: info.created, owned_by: info.ownedBy };
}
