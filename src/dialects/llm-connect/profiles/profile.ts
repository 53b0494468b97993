import { z } from 'zod';
import { callValues, modelParams, type ResolvedCall } from '../execute-config.js';
import { UserError } from '../../../errors.js';

export type Env = Readonly<Record<string, string | undefined>>;

/** A value of the operator's is wrong; one line that names the variable and the field. */
export class ProfileError extends UserError {}

/** A misspelt field of the operator's is told, where a client's would be ignored. */
const profile = z.strictObject({
  ...callValues,
  model_params: z
    .strictObject(modelParams)
    .nullish()
    .transform((params) => params ?? undefined),
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

/** @param where what the error names: the variable and the profile. @throws ProfileError. */
export function parseProfile(value: unknown, where: string): Profile {
  const result = profile.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new ProfileError(`${[where, ...path].join('.')}: ${message}`);
}
