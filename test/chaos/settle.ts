import { setTimeout as sleep } from 'node:timers/promises';
import { exchange, type Target } from './exchange.js';

/** How long the server may take until all is as it was before, milliseconds. */
const PATIENCE_MS = 15_000;
const EVERY_MS = 50;

/** Slots as `/ready` has them. */
export interface Slots {
  readonly total: number;
  readonly idle: number;
}

/** Waits until every slot of every worker is free, for 15 s at most; how many are. */
export function untilIdle(target: Target): Promise<Slots> {
  return untilSlots(target, ({ idle, total }) => idle === total);
}

/** Waits until no slot is free, for 15 s at most. */
export function untilAllBusy(target: Target): Promise<Slots> {
  return untilSlots(target, ({ idle }) => idle === 0);
}

async function untilSlots(target: Target, fits: (slots: Slots) => boolean): Promise<Slots> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const slots = await readSlots(target);
    if (fits(slots) || performance.now() > until) return slots;
    await sleep(EVERY_MS);
  }
}

async function readSlots(target: Target): Promise<Slots> {
  const { body, complete } = await exchange(target, { method: 'GET', path: '/ready' });
  return complete ? (JSON.parse(body) as { slots: Slots }).slots : { total: NaN, idle: NaN };
}
