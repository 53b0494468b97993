import type { WorkerActivity, WorkerInfo } from '../../contract.js';
import type { Worker } from '../../../workers/worker.js';

/** Describes a worker for the metrics. */
export function workerInfo(model: string, worker: Worker): WorkerInfo {
  const { id, pid, leased, startedAt, options, served, memory, offload } = worker;
  // `model#position.spawn`
  const position = Number(/#(\d+)\.\d+$/.exec(id)?.[1]);
  return {
    ...{ id, model, position, pid, leased },
    startedAt: Math.round(performance.timeOrigin + startedAt),
    state: activityOf(worker),
    slots: options.slots,
    requests: served,
    ...{ binary: options.binary.path, gpu: options.gpu, memory, offload },
  };
}

function activityOf({ state, suspected, leased }: Worker): WorkerActivity {
  if (state === 'starting') return 'starting';
  if (state !== 'ready') return 'draining';
  if (suspected) return 'suspected';
  return leased > 0 ? 'busy' : 'idle';
}
