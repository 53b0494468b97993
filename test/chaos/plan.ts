import type { Call, Manner } from './exchange.js';
import type { Asked } from './judge.js';
import type { Actor, Mix } from './options.js';
import { BOUND_ROUTE, type Route, ROUTES, STREAMED_ROUTES } from './routes.js';
import { Random } from '../harness/random.js';

/** A request that must be refused, with the status that its contract names. `--preset bodies` sends the worst. */
interface BadRequest {
  readonly call: Call;
  readonly status: number;
}

const post = (path: string, body: string, headers: Readonly<Record<string, string>> = {}): Call => ({
  method: 'POST',
  path,
  body,
  headers,
});

const HELLO = '{"prompt":"Hello"}';

const BAD_REQUESTS: readonly BadRequest[] = [
  { status: 400, call: post('/chat', '{"prompt":"Hello"') },
  { status: 400, call: post('/chat', '{"prompt":""}') },
  { status: 400, call: post('/chat', '{"prompt":["Hello"]}') },
  { status: 400, call: post('/chat', '{"prompt":"Hello","temperature":-1}') },
  { status: 400, call: post('/chat', '{"prompt":"Hello","temperature":1e999}') },
  { status: 400, call: post('/v1/chat/completions', '{"messages":[]}') },
  { status: 400, call: post('/v1/completions', '{"prompt":"a\\u0000b"}') },
  { status: 400, call: post('/llm', '{"task":"no_such_task","input":{}}') },
  { status: 400, call: post('/execute', '[]') },
  { status: 400, call: post('/complete', 'null') },
  { status: 404, call: post('/no/such/route', HELLO) },
  { status: 404, call: post('/chat', '{"prompt":"Hello","model":"../secrets"}') },
  { status: 401, call: post('/chat', HELLO, { 'X-API-Key': 'wrong' }) },
  { status: 415, call: post('/chat', HELLO, { 'Content-Type': 'text/plain' }) },
];

/**
 * Questions that the demo model can answer, each differently, so that a reply shows which question it belongs to. Its
 * stories are long enough to be hit in the middle.
 */

const COUNTRIES =
  'Peru Ecuador Bolivia Chile Argentina Brazil Colombia Venezuela Uruguay Paraguay Mexico Cuba Canada France Spain ' +
  'Portugal Italy Germany Austria Switzerland Belgium Poland Sweden Norway Finland Denmark Greece Hungary Ireland ' +
  'Iceland Russia Turkey Egypt Kenya Morocco Japan China India Thailand Vietnam Australia';

const STORIES =
  'a lighthouse,a cat,a robot,a river,a baker,the moon,a tree,a penguin,a clockmaker,a mountain,a computer'.split(
    ',',
  );

// prettier-ignore
const FACTS = [
  'Count from 1 to 50', 'Count from 1 to 20', 'Count down from 10', 'Name a famous Peruvian dish',
  'How is ceviche made?', 'Name a famous Italian dish', 'Name a famous Mexican dish', 'Name the planets',
  'Name the continents', 'Name the days of the week', 'Name the months', 'Name the colours of the rainbow',
  'Say the alphabet', 'Why is the sky blue?', 'Why is the sea salty?', 'What is a rainbow?',
  'What is LMServ?', 'Who are you?', 'What is streaming?', 'What is a language model?', 'Tell me a joke',
  'Write a haiku', 'Send me three emoji', 'Say hello in Japanese',
];

const DIGITS = [1, 2, 3, 4, 5, 6, 7, 8, 9];

const SYLLABLES = 'ba do fi ga ho ju ka lo mi nu po ra se ta vo zi'.split(' ');

/** Invented names: the model greets by the name that a question contains. */
const NAMES = 48;

/** All questions, in an order drawn for this run, with names invented for it. */
export function catalogue(random: Random): string[] {
  const capitals = COUNTRIES.split(' ').map((country) => `What is the capital of ${country}?`);
  const stories = STORIES.map((subject) => `Tell me a story about ${subject}`);
  const sums = DIGITS.flatMap((a) => [3, 7].map((b) => `What is ${a} + ${b}?`));
  const products = DIGITS.slice(1, 7).flatMap((a) => [4, 6].map((b) => `What is ${a} times ${b}?`));
  const names = Array.from({ length: NAMES }, () => `My name is ${inventName(random)}`);
  return random.shuffled([
    ...new Set([...capitals, ...stories, ...stories.map(shortOf), ...sums, ...products, ...FACTS, ...names]),
  ]);
}

/** Another question for the same story: the replies cannot be told apart, but long ones become likelier. */
function shortOf(question: string): string {
  return question.replace('a story', 'a short story');
}

function inventName(random: Random): string {
  const name = Array.from({ length: random.int(2, 3) }, () => random.pick(SYLLABLES)).join('');
  return name.charAt(0).toUpperCase() + name.slice(1);
}

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

/** Numbers of a run's streams of random numbers. */
export const STREAM = { questions: 0, requests: 1, kills: 2 } as const;

/**
 * What the request with that number does, independent of the others. Questions take turns, so that those in flight are
 * all different and a misrouted reply is visible. Pure.
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

/** A question for a route. */
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

/** Waits are milliseconds: from the time of a reply without waiting to that of a queue. */
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
