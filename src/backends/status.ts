import type { BackendStatus } from '../contract.js';

/** The status of a backend without workers: zeros, and whether it can take a request now. */
export function withoutWorkers(ready: boolean): BackendStatus {
  return {
    ready,
    starting: false,
    workers: { total: 0, idle: 0, busy: 0, starting: 0, dead: 0 },
    slots: { total: 0, idle: 0 },
    queue: { waiting: 0, limit: 0 },
  };
}
