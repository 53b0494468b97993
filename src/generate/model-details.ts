import type { Backend, ModelDetails, ModelFacts, ModelState } from '../contract.js';
import { NO_CAP, type TokenLimits } from './generate.js';

/** A model of a group, or the only one. */
interface Listed {
  readonly model: string;
  readonly backend: Backend;
  readonly maxTokens: TokenLimits;
}

/** What is known of a backend that does not tell. */
const UNTOLD: ModelFacts = { capabilities: ['chat', 'completion'] };

export function factsOf(backend: Backend): ModelFacts {
  return backend.facts?.() ?? UNTOLD;
}

/** The details of a model, or of a group, which claims only what all of its members can do. */
export function modelDetails(listed: readonly Listed[], isGroup: boolean): ModelDetails {
  const facts = listed.map(({ backend }) => factsOf(backend));
  const [first = UNTOLD] = facts;
  const contextLength = least(facts.map((each) => each.contextLength));
  const common = {
    state: stateOf(listed.map(({ backend }) => backend)),
    capabilities: first.capabilities.filter((each) =>
      facts.every((fact) => fact.capabilities.includes(each)),
    ),
    contextLength,
    maxOutputTokens: least([...listed.map(({ maxTokens }) => known(maxTokens.cap)), contextLength]),
  };
  return isGroup ? { ...common, members: listed.map(({ model }) => model) } : { ...first, ...common };
}

function stateOf(backends: readonly Backend[]): ModelState {
  const states = backends.map((backend) => backend.status());
  const each = states.map(({ ready, starting, state }) => {
    if (state !== undefined) return state;
    if (ready) return 'loaded';
    return starting ? 'loading' : 'failed';
  });
  return BEST_FIRST.find((state) => each.includes(state)) ?? 'failed';
}

/** A group is in the best state of its models. */
const BEST_FIRST: readonly ModelState[] = ['loaded', 'loading', 'unloaded', 'failed'];

/** The smallest of the values that are known. */
function least(values: readonly (number | undefined)[]): number | undefined {
  const numbers = values.filter((value) => value !== undefined);
  return numbers.length > 0 ? Math.min(...numbers) : undefined;
}

const known = (cap: number): number | undefined => (cap === NO_CAP ? undefined : cap);
