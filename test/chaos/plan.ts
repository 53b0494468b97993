import { BAD_REQUESTS } from './bad-requests.js';
import type { Call, Manner } from './exchange.js';
import type { Asked } from './judge.js';
import type { Actor, Mix } from './presets.js';
import { Random } from './random.js';
import { BOUND_ROUTE, ROUTES, STREAMED_ROUTES, type Route } from './routes.js';

/** One request of a run. */
export interface Plan {
  readonly actor: Actor;
  readonly call: Call;
  readonly manner: Manner;
  readonly asked: Asked;
}

export interface PlanOptions {
  readonly seed: number;
  readonly mix: Mix;
  readonly maxTokens: number;
  readonly questions: readonly string[];
}

/** The numbers by which the streams of random numbers of a run are told apart. */
export const STREAM = { questions: 0, requests: 1, kills: 2 } as const;

/**
 * What the request with that number does, whatever the others did. Questions go round, so that those in flight at a
 * time are all different and a reply in the wrong place shows. Pure.
 */
export function planOf(index: number, { seed, mix, maxTokens, questions }: PlanOptions): Plan {
  const random = new Random(seed, STREAM.requests, index);
  const actor = random.weighted(mix);
  if (actor === 'bad') return badPlan(random);
  const route = routeOf(actor, random);
  const question = questions[index % questions.length]!;
  const call = questionCall(route, question, maxTokens);
  return { actor, call, manner: mannerOf(actor, random), asked: { kind: 'question', route, question } };
}

/** A question, asked by a route. */
export function questionCall(route: Route, question: string, maxTokens: number): Call {
  return { method: 'POST', path: route.path, body: JSON.stringify(route.body(question, maxTokens)) };
}

function badPlan(random: Random): Plan {
  const { call, status } = random.pick(BAD_REQUESTS);
  return { actor: 'bad', call, manner: { kind: 'patient' }, asked: { kind: 'bad', status } };
}

function routeOf(actor: Actor, random: Random): Route {
  if (actor === 'bound') return BOUND_ROUTE;
  return random.pick(actor === 'slow' || actor === 'leavesStreaming' ? STREAMED_ROUTES : ROUTES);
}

/** Waits are milliseconds: from what a reply takes at once to what a queue takes. */
function mannerOf(actor: Actor, random: Random): Manner {
  switch (actor) {
    case 'slow':
      return { kind: 'slow', pauses: Array.from({ length: random.int(1, 4) }, () => random.int(50, 500)) };
    case 'leavesWaiting':
      return { kind: 'leavesWaiting', afterMs: random.int(1, 150) };
    case 'leavesStreaming':
      return { kind: 'leavesStreaming', afterPieces: random.int(1, 6) };
    case 'leavesSending':
      return { kind: 'leavesSending', afterMs: random.int(1, 300) };
    default:
      return { kind: 'patient' };
  }
}
