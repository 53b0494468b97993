import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, loadConfig } from '../../../../src/config/load.js';
import { Profiles } from '../../../../src/dialects/llm-connect/profiles/profiles.js';
import { emptyFolder } from '../../../support/folder.js';

const TRIAGE = 'custodian-triage-balanced';
const PREFIX = 'LLM_CONNECT_CUSTODIAN_TRIAGE_';
const folder = emptyFolder();

const load = (env: Record<string, string>) => loadConfig({}, { env, folder }).profiles;
const json = (profiles: object) => ({ LLM_CONNECT_PROFILES_JSON: JSON.stringify(profiles) });

const BUILT_IN = {
  provider: 'openrouter',
  model: 'anthropic/claude-sonnet-4',
  temperature: 0.2,
  max_tokens: 1800,
  max_depth: 2,
  timeout_seconds: 300,
  model_params: { reasoning_effort: 'medium' },
};

describe('the built-in profile', () => {
  test('exists with its values', () => {
    const profiles = load({});
    expect(profiles.names).toEqual([TRIAGE]);
    expect(profiles.resolve(TRIAGE, {})).toEqual(BUILT_IN);
  });

  test.each<[string, string, object]>([
    ['PROVIDER', 'mock', { provider: 'mock' }],
    ['MODEL', 'openai/gpt-5', { model: 'openai/gpt-5' }],
    ['TEMPERATURE', '0', { temperature: 0 }],
    ['MAX_TOKENS', '7', { max_tokens: 7 }],
    ['MAX_DEPTH', '0', { max_depth: 0 }],
    ['TIMEOUT_SECONDS', '1.5', { timeout_seconds: 1.5 }],
    ['REASONING_EFFORT', 'low', { model_params: { reasoning_effort: 'low' } }],
  ])('%s replaces only its value', (field, value, expected) => {
    expect(load({ [PREFIX + field]: value }).resolve(TRIAGE, {})).toEqual({ ...BUILT_IN, ...expected });
  });

  test('ignores an empty variable', () => {
    expect(load({ [`${PREFIX}TEMPERATURE`]: '' }).resolve(TRIAGE, {})).toEqual(BUILT_IN);
  });

  test.each([
    ['TEMPERATURE', 'warm'],
    ['TEMPERATURE', '3'],
    ['TEMPERATURE', '0x1'],
    ['MAX_TOKENS', '0'],
    ['MAX_TOKENS', '1.5'],
    ['MAX_DEPTH', '-1'],
    ['TIMEOUT_SECONDS', '0'],
    ['REASONING_EFFORT', 'enormous'],
  ])('an invalid %s (%s) is named in the error', (field, value) => {
    const run = () => load({ [PREFIX + field]: value });
    expect(run).toThrow(ConfigError);
    expect(run).toThrow(`${PREFIX}${field}`);
  });
});

describe('custom profiles', () => {
  test('are read from LLM_CONNECT_PROFILES_JSON', () => {
    const profiles = load(json({ cheap: { model: 'fast', model_params: { top_p: 0.5 } } }));
    expect(profiles.names).toEqual([TRIAGE, 'cheap']);
    expect(profiles.resolve('cheap', {})).toEqual({ model: 'fast', model_params: { top_p: 0.5 } });
  });

  test('come from the file that LLM_CONNECT_PROFILE_FILE names', () => {
    writeFileSync(join(folder, 'p.json'), '{"slow":{"model":"quality","provider":"cloud"}}');
    const profiles = load({ LLM_CONNECT_PROFILE_FILE: 'p.json' });
    expect(profiles.resolve('slow', {})).toMatchObject({ model: 'quality', provider: 'cloud' });
  });

  test('from the variable replace those from the file, and both replace the built-in one as a whole', () => {
    const env = { ...json({ a: { model: 'json' } }), LLM_CONNECT_PROFILE_FILE: 'f' };
    const file = { a: { model: 'file', max_tokens: 1 }, [TRIAGE]: { model: 'own' } };
    writeFileSync(join(folder, 'f'), JSON.stringify(file));
    const profiles = load(env);
    expect(profiles.resolve('a', {})).toEqual({ model: 'json', model_params: {} });
    expect(profiles.resolve(TRIAGE, {})).toEqual({ model: 'own', model_params: {} });
  });

  test.each<[string, Record<string, string>]>([
    ['LLM_CONNECT_PROFILES_JSON: is not valid JSON', { LLM_CONNECT_PROFILES_JSON: '{SECRET' }],
    ['LLM_CONNECT_PROFILES_JSON: must be a JSON object', { LLM_CONNECT_PROFILES_JSON: '[]' }],
    ['LLM_CONNECT_PROFILES_JSON: a.model: ', json({ a: {} })],
    ['LLM_CONNECT_PROFILES_JSON: a.temperature: ', json({ a: { model: 'm', temperature: 'hot' } })],
    [
      'LLM_CONNECT_PROFILES_JSON: a.model_params.top_p: ',
      json({ a: { model: 'm', model_params: { top_p: 9 } } }),
    ],
    ['LLM_CONNECT_PROFILES_JSON: a: ', json({ a: 'fast' })],
    ['"temprature"', json({ a: { model: 'm', temprature: 1 } })],
    ['"id_slot"', json({ a: { model: 'm', model_params: { id_slot: 1 } } })],
    ['LLM_CONNECT_PROFILE_FILE: cannot be read (ENOENT)', { LLM_CONNECT_PROFILE_FILE: '/none' }],
  ])('that are invalid stop the start: %s', (message, env) => {
    const run = () => load(env);
    expect(run).toThrow(ConfigError);
    expect(run).toThrow(message);
    expect(run).not.toThrow('SECRET');
  });
});

describe('resolve', () => {
  test('returns undefined for other names, including inherited ones', () => {
    for (const name of ['gpt-4', 'constructor', '__proto__', ''])
      expect(load({}).resolve(name, {})).toBeUndefined();
    expect(Profiles.none.resolve(TRIAGE, {})).toBeUndefined();
  });

  test('lets given values override the profile and ignores undefined', () => {
    const call = load({}).resolve(TRIAGE, {
      temperature: 0,
      max_tokens: undefined,
      model_params: { seed: 1, reasoning_effort: undefined },
    });
    expect(call).toEqual({
      ...BUILT_IN,
      temperature: 0,
      model_params: { reasoning_effort: 'medium', seed: 1 },
    });
  });
});
