/** Profiles of llm-connect as the operator writes them. */

import { z } from 'zod';
import { filled } from '../../shared/validate.js';
import { callValues, modelParams, type ResolvedCall } from '../execute-config.js';
import { Profiles } from './profiles.js';

/** A word that an operator misspelt is an error; a client's is passed on. */
const params = {
  ...modelParams,
  reasoning_effort: filled(z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'])),
};

/** An operator's misspelt field is an error; a client's is ignored. */
const profile = z.strictObject({
  ...callValues,
  model_params: z
    .strictObject(params)
    .nullish()
    .transform((given) => given ?? undefined),
  provider: z
    .string()
    .min(1)
    .max(64)
    .nullish()
    .transform((name) => name ?? undefined),
  model: z.string().min(1).max(256),
});

/** A named provider, model and call values. */
export type Profile = ResolvedCall;

/** JSON text: profiles by name. */
export const profilesJson = z
  .string()
  .transform((json, context): unknown => {
    try {
      return JSON.parse(json);
    } catch {
      // Node's message quotes the text.
      context.addIssue('is not valid JSON');
      return z.NEVER;
    }
  })
  .pipe(z.record(z.string(), profile, 'must be a JSON object of profiles by name'));

const TRIAGE = 'custodian-triage-balanced';

/** The values of the built-in profile, each a variable of its own, with their defaults. */
export const triageFields = {
  provider: profile.shape.provider.prefault('openrouter'),
  model: profile.shape.model.default('anthropic/claude-sonnet-4'),
  temperature: profile.shape.temperature.prefault(0.2),
  max_tokens: profile.shape.max_tokens.prefault(1800),
  max_depth: profile.shape.max_depth.prefault(2),
  timeout_seconds: profile.shape.timeout_seconds.prefault(300),
  reasoning_effort: params.reasoning_effort.prefault('medium'),
};

type Triage = { readonly [K in keyof typeof triageFields]: z.output<(typeof triageFields)[K]> };

/** The built-in profile and those of each set; one of a later set replaces an earlier one of the same name as a whole. */
export function createProfiles(
  { reasoning_effort, ...triage }: Triage,
  ...sets: Readonly<Record<string, Profile>>[]
): Profiles {
  const builtIn: Profile = { ...triage, model_params: { reasoning_effort } };
  return new Profiles(new Map([[TRIAGE, builtIn], ...sets.flatMap((set) => Object.entries(set))]));
}
