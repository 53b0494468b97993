import { TRIAGE, TRIAGE_VARIABLES, triageProfile } from './built-in.js';
import { parseProfile, ProfileError, type Env, type Profile } from './profile.js';
import { Profiles } from './profiles.js';

const INLINE = 'LLM_CONNECT_PROFILES_JSON';
const FILE = 'LLM_CONNECT_PROFILE_FILE';

/** Every variable that profiles are read from. */
export const PROFILE_VARIABLES: readonly string[] = [INLINE, FILE, ...TRIAGE_VARIABLES];

/**
 * The built-in profile, then those of LLM_CONNECT_PROFILE_FILE, then those of LLM_CONNECT_PROFILES_JSON; a later one of
 * the same name replaces the earlier as a whole. An empty variable counts as unset.
 *
 * @param readFile reads a text file in UTF-8.
 * @throws ProfileError naming the variable, the profile and the field.
 */
export function loadProfiles(env: Env, readFile: (path: string) => string): Profiles {
  const path = env[FILE];
  return new Profiles(
    new Map([
      [TRIAGE, triageProfile(env)],
      ...(path ? parseAll(read(path, readFile), FILE) : []),
      ...(env[INLINE] ? parseAll(env[INLINE], INLINE) : []),
    ]),
  );
}

function read(path: string, readFile: (path: string) => string): string {
  try {
    return readFile(path);
  } catch (error) {
    const { code } = error as { code?: string };
    throw new ProfileError(`${FILE}: cannot be read${code === undefined ? '' : ` (${code})`}`);
  }
}

function parseAll(json: string, variable: string): [string, Profile][] {
  return Object.entries(parseObject(json, variable)).map(([name, value]) => [
    name,
    parseProfile(value, `${variable}: ${name}`),
  ]);
}

function parseObject(json: string, variable: string): object {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new ProfileError(`${variable}: is not valid JSON`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new ProfileError(`${variable}: must be a JSON object of profiles by name`);
  }
  return value;
}
