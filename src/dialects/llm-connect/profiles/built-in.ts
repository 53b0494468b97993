import { parseProfile, ProfileError, type Env, type Profile } from './profile.js';

export const TRIAGE = 'custodian-triage-balanced';

const PREFIX = 'LLM_CONNECT_CUSTODIAN_TRIAGE_';

const STANDARD = {
  PROVIDER: 'openrouter',
  MODEL: 'anthropic/claude-sonnet-4',
  TEMPERATURE: 0.2,
  MAX_TOKENS: 1800,
  MAX_DEPTH: 2,
  TIMEOUT_SECONDS: 300,
  REASONING_EFFORT: 'medium',
};

type Field = keyof typeof STANDARD;

/** The variables that change the built-in profile. */
export const TRIAGE_VARIABLES = Object.keys(STANDARD).map((field) => PREFIX + field);

/** The one profile that is always there, each value replaceable. @throws ProfileError naming the variable. */
export function triageProfile(env: Env): Profile {
  const values = { ...STANDARD };
  for (const field of Object.keys(STANDARD) as Field[]) {
    const raw = env[PREFIX + field];
    if (raw === undefined || raw === '') continue;
    Object.assign(values, { [field]: typeof STANDARD[field] === 'number' ? toNumber(field, raw) : raw });
    // Each by itself, so that the message names the variable and not a field of a whole.
    parse({ ...STANDARD, [field]: values[field] }, PREFIX + field);
  }
  return parse(values, TRIAGE);
}

function parse(values: typeof STANDARD, where: string): Profile {
  const shape = {
    provider: values.PROVIDER,
    model: values.MODEL,
    temperature: values.TEMPERATURE,
    max_tokens: values.MAX_TOKENS,
    max_depth: values.MAX_DEPTH,
    timeout_seconds: values.TIMEOUT_SECONDS,
    model_params: { reasoning_effort: values.REASONING_EFFORT },
  };
  return parseProfile(shape, where);
}

function toNumber(field: Field, raw: string): number {
  if (!/^-?\d+(\.\d+)?$/.test(raw)) throw new ProfileError(`${PREFIX}${field}: must be a number`);
  return Number(raw);
}
