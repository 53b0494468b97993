import { execute, type ExecuteOptions } from '../../../../src/dialects/llm-connect/execute.js';
import type { GenerateRequest } from '../../../../src/contract.js';
import { loadConfig } from '../../../../src/config/load.js';
import { Collector } from '../../../../src/dialects/shared/collect.js';

/** How a config, by the server's options, becomes a request. */

const TRIAGE = 'custodian-triage-balanced';
const env = {
  LLM_CONNECT_PROFILES_JSON: JSON.stringify({ here: { provider: 'local', model: 'tiny', max_tokens: 3 } }),
};
const { profiles } = loadConfig({}, { env, folder: import.meta.dirname });

function requestFor(config: object | undefined, options: ExecuteOptions = {}): GenerateRequest {
  return execute(options).parse({ prompt: 'Hello', ...(config ? { config } : {}) }).request!;
}

describe('profiles', () => {
  test('set provider, model and call values', () => {
    const request = requestFor({ model_name: TRIAGE }, { profiles });
    expect(request).toMatchObject({
      provider: 'openrouter',
      model: 'anthropic/claude-sonnet-4',
      deadlineMs: 300_000,
    });
    expect(request.body).toEqual({
      messages: [{ role: 'user', content: 'Hello' }],
      temperature: 0.2,
      max_tokens: 1800,
      reasoning_effort: 'medium',
    });
  });

  test('are overridden by each value of the request', () => {
    const config = {
      ...{ model_name: TRIAGE, temperature: 0, max_tokens: null, timeout_seconds: 2 },
      model_params: { top_p: 0.5 },
    };
    const request = requestFor(config, { profiles });
    expect(request).toMatchObject({
      provider: 'openrouter',
      deadlineMs: 2000,
      body: { temperature: 0, max_tokens: 1800, top_p: 0.5, reasoning_effort: 'medium' },
    });
    const other = requestFor({ model_name: TRIAGE, model_params: { reasoning_effort: 'low' } }, { profiles });
    expect(other.body.reasoning_effort).toBe('low');
  });

  test('with the provider local are served by the pool', () => {
    const request = requestFor({ model_name: 'here' }, { profiles });
    expect(request).toMatchObject({ model: 'tiny', body: { max_tokens: 3 } });
    expect(request.defaults).toEqual({ sampling: { temperature: 0.7 } });
    expect(request.provider).toBeUndefined();
  });

  test('take precedence over a model with the same name', () => {
    const request = requestFor({ model_name: 'here' }, { profiles, isKnownModel: () => true });
    expect(request.model).toBe('tiny');
  });

  test('that do not exist leave their names to models', () => {
    expect(requestFor({ model_name: TRIAGE })).toMatchObject({ model: TRIAGE, unknownModel: 'default' });
  });
});

describe('unknown names', () => {
  const options = { profiles, isKnownModel: (name: string) => name === 'tiny' };

  test('fall back to the default model', () => {
    expect(requestFor({ model_name: 'gpt-5' }, options)).toMatchObject({
      model: 'gpt-5',
      unknownModel: 'default',
    });
  });

  test('are unknown_profile with strict profiles', () => {
    const strict = { ...options, strictProfiles: true };
    expect(() => requestFor({ model_name: 'gpt-5' }, strict)).toThrow(
      expect.objectContaining({ code: 'unknown_profile' }),
    );
    expect(requestFor({ model_name: 'tiny' }, strict).model).toBe('tiny');
    expect(requestFor({ model_name: TRIAGE }, strict).provider).toBe('openrouter');
  });

  test('do not include a missing name', () => {
    expect(requestFor(undefined, { ...options, strictProfiles: true })).toMatchObject({
      model: 'gpt-4',
      unknownModel: 'default',
    });
  });
});

describe('the task type', () => {
  const options: ExecuteOptions = {
    profiles,
    isKnownModel: (name) => name === 'tiny',
    route: (taskType) => ({ triage: TRIAGE, summary: 'fast' })[taskType],
  };

  test('chooses the model or profile when the request names no known one', () => {
    expect(requestFor({ task_type: 'summary' }, options).model).toBe('fast');
    expect(requestFor({ task_type: 'summary', model_name: 'gpt-4' }, options).model).toBe('fast');
    expect(requestFor({ task_type: 'triage', temperature: 1 }, options)).toMatchObject({
      provider: 'openrouter',
      body: { temperature: 1, max_tokens: 1800 },
    });
  });

  test('does not override a model or profile that the request names', () => {
    expect(requestFor({ task_type: 'summary', model_name: 'tiny' }, options).model).toBe('tiny');
    expect(requestFor({ task_type: 'summary', model_name: TRIAGE }, options).provider).toBe('openrouter');
  });

  test('changes nothing without a rule or a policy', () => {
    expect(requestFor({ task_type: 'other' }, options).model).toBe('gpt-4');
    expect(requestFor({ task_type: 'summary' }).model).toBe('gpt-4');
  });

  test('does not bypass strict profiles', () => {
    expect(() =>
      requestFor({ task_type: 'summary', model_name: 'gpt-5' }, { ...options, strictProfiles: true }),
    ).toThrow(expect.objectContaining({ code: 'unknown_profile' }));
  });
});

test('max_depth of a profile is returned in the metadata', async () => {
  const call = execute({ profiles }).parse({ prompt: 'x', config: { model_name: TRIAGE } });
  if (!('reply' in call)) throw new Error('/execute does not stream');
  const info = {
    ...{ requestId: 'r', created: 0 },
    trace: { promptTokens: 0, completionTokens: 0, cachedTokens: 0, attempts: 1 },
  };
  const reply = await call.reply(new Collector(1).collected(), info);
  expect(reply).toMatchObject({ metadata: { max_depth: 2 } });
});
