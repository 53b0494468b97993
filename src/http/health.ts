import type { BackendStatus } from '../contract.js';
import type { Health, HealthStatus } from './read-routes.js';

/** The health of the whole: one backend that can serve makes it ok. */
export function healthOf(
  states: readonly BackendStatus[],
  draining: boolean,
  model: string,
  version: string,
): Health {
  const sum = (pick: (state: BackendStatus) => number) =>
    states.reduce((total, state) => total + pick(state), 0);
  return {
    status: draining ? 'draining' : statusOf(states),
    workers: {
      total: sum(({ workers }) => workers.total),
      idle: sum(({ workers }) => workers.idle),
      busy: sum(({ workers }) => workers.busy),
      starting: sum(({ workers }) => workers.starting),
      dead: sum(({ workers }) => workers.dead),
    },
    slots: { total: sum(({ slots }) => slots.total), idle: sum(({ slots }) => slots.idle) },
    queue: { waiting: sum(({ queue }) => queue.waiting), limit: sum(({ queue }) => queue.limit) },
    model,
    version,
  };
}

function statusOf(states: readonly BackendStatus[]): HealthStatus {
  if (states.some((state) => state.ready)) return 'ok';
  return states.some((state) => state.starting) ? 'starting' : 'unavailable';
}
