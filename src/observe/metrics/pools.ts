import { Counter, Histogram, type Registry } from 'prom-client';
import type { Adaptation, UnloadReason, WorkerExitCause } from '../../contract.js';
import type { PoolObserver } from '../pool-observer.js';
import type { ModelNames } from './model-names.js';

const WAIT_BUCKETS = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Loading a model takes from a fraction of a second to minutes. */
const START_BUCKETS = [0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

const CAUSES: readonly WorkerExitCause[] = [
  'shutdown',
  'recycled',
  'hung',
  'killed',
  'crashed',
  'start_failed',
];

const UNLOAD_REASONS: readonly UnloadReason[] = ['idle', 'evicted', 'operator', 'failed'];

const ADAPTATIONS: readonly Adaptation[] = [
  'system_message',
  'merged_turns',
  'text_parts',
  'turn_order',
  'opening_turn',
  'reasoning',
  'tool_definitions',
  'tool_turns',
  'parallel_calls',
  'call_ids',
  'call_arguments',
];

const SLIP_OUTCOMES = { true: 'repaired', false: 'delivered' } as const;

/** Metrics of the pools: workers that start and end, requests that wait, are resumed or retried. */
export class PoolMetrics implements PoolObserver {
  readonly #names: ModelNames;
  readonly #started;
  readonly #exits;
  readonly #loads;
  readonly #unloads;
  readonly #resumed;
  readonly #retried;
  readonly #adapted;
  readonly #slips;
  readonly #waits;

  constructor(registry: Registry, names: ModelNames) {
    this.#names = names;
    const registers = [registry];
    this.#started = new Histogram({
      name: 'lmserv_worker_start_duration_seconds',
      help: 'Time from the spawn of a worker until it takes requests.',
      labelNames: ['model'],
      buckets: START_BUCKETS,
      registers,
    });
    this.#loads = new Histogram({
      name: 'lmserv_model_load_duration_seconds',
      help: 'Time from the decision to load a model until its first worker takes requests.',
      labelNames: ['model'],
      buckets: START_BUCKETS,
      registers,
    });
    this.#unloads = new Counter({
      name: 'lmserv_model_unloads_total',
      help: 'Models that were unloaded, by reason (idle, evicted, operator, failed).',
      labelNames: ['model', 'reason'],
      registers,
    });
    this.#exits = new Counter({
      name: 'lmserv_worker_exits_total',
      help: 'Workers that have ended, by cause; after every cause except shutdown a replacement is started.',
      labelNames: ['model', 'cause'],
      registers,
    });
    this.#resumed = new Counter({
      name: 'lmserv_replies_resumed_total',
      help: 'Replies resumed on another worker after theirs failed.',
      labelNames: ['model'],
      registers,
    });
    this.#retried = new Counter({
      name: 'lmserv_requests_retried_total',
      help: 'Requests retried because their worker failed before the first token.',
      labelNames: ['model'],
      registers,
    });
    this.#adapted = new Counter({
      name: 'lmserv_conversations_adapted_total',
      help: "Conversations changed to fit the model's chat template, by kind of change.",
      labelNames: ['model', 'kind'],
      registers,
    });
    this.#slips = new Counter({
      name: 'lmserv_call_slips_total',
      help: 'Tool calls whose arguments were not JSON, by what became of them (repaired, delivered as they were).',
      labelNames: ['model', 'outcome'],
      registers,
    });
    this.#waits = new Histogram({
      name: 'lmserv_queue_wait_seconds',
      help: 'Time that requests waited for a slot, by how the wait ended (leased, timeout, refused, left).',
      labelNames: ['model', 'outcome'],
      buckets: WAIT_BUCKETS,
      registers,
    });
  }

  /** Shows a model's counters from the start, so that their first increase is not missed. */
  introduce(name: string): void {
    const model = this.#names.labelOf(name);
    for (const cause of CAUSES) this.#exits.inc({ model, cause }, 0);
    for (const reason of UNLOAD_REASONS) this.#unloads.inc({ model, reason }, 0);
    for (const kind of ADAPTATIONS) this.#adapted.inc({ model, kind }, 0);
    for (const outcome of Object.values(SLIP_OUTCOMES)) this.#slips.inc({ model, outcome }, 0);
    this.#resumed.inc({ model }, 0);
    this.#retried.inc({ model }, 0);
  }

  workerReady({ model, ms }: Parameters<PoolObserver['workerReady']>[0]): void {
    this.#started.observe({ model: this.#names.labelOf(model) }, ms / 1000);
  }

  modelLoaded({ model, ms }: Parameters<PoolObserver['modelLoaded']>[0]): void {
    this.#loads.observe({ model: this.#names.labelOf(model) }, ms / 1000);
  }

  modelUnloaded({ model, reason }: Parameters<PoolObserver['modelUnloaded']>[0]): void {
    this.#unloads.inc({ model: this.#names.labelOf(model), reason });
  }

  workerExited({ model, cause }: Parameters<PoolObserver['workerExited']>[0]): void {
    this.#exits.inc({ model: this.#names.labelOf(model), cause });
  }

  resumed({ model }: Parameters<PoolObserver['resumed']>[0]): void {
    this.#resumed.inc({ model: this.#names.labelOf(model) });
  }

  retried({ model }: Parameters<PoolObserver['retried']>[0]): void {
    this.#retried.inc({ model: this.#names.labelOf(model) });
  }

  adapted({ model, kind }: Parameters<PoolObserver['adapted']>[0]): void {
    this.#adapted.inc({ model: this.#names.labelOf(model), kind });
  }

  callRepaired({ model, repaired }: Parameters<PoolObserver['callRepaired']>[0]): void {
    this.#slips.inc({ model: this.#names.labelOf(model), outcome: SLIP_OUTCOMES[`${repaired}`] });
  }

  waited({ model, ms, outcome }: Parameters<PoolObserver['waited']>[0]): void {
    this.#waits.observe({ model: this.#names.labelOf(model), outcome }, ms / 1000);
  }
}
