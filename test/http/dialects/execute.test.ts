import { ERRORS, LMServError, type ErrorCode } from '../../../src/errors.js';
import request from 'supertest';
import { events, failing, KEY, playing, post, saying, testApp } from '../../support/app.js';
import { routes } from '../../../src/http/routes.js';
import { loadConfig } from '../../../src/config/load.js';

const asked = { prompt: 'Hello' };

/** code of ours → what llm-connect's clients read: status, error, type. */
const MAPPING: Record<ErrorCode, readonly [status: number, error: string, type: string]> = {
  invalid_json: [400, 'invalid_json', 'LLMError'],
  invalid_value: [400, 'invalid_value', 'LLMError'],
  context_length_exceeded: [400, 'context_length_exceeded', 'LLMError'],
  special_token: [400, 'special_token', 'LLMError'],
  invalid_api_key: [401, 'invalid_api_key', 'LLMError'],
  forbidden: [403, 'forbidden', 'LLMError'],
  not_found: [404, 'not_found', 'LLMError'],
  model_not_found: [500, 'configuration_error', 'LLMConfigurationError'],
  method_not_allowed: [405, 'method_not_allowed', 'LLMError'],
  request_timeout: [408, 'request_timeout', 'LLMError'],
  body_too_large: [413, 'body_too_large', 'LLMError'],
  prompt_quarantined: [422, 'prompt_quarantined', 'LLMError'],
  headers_too_large: [431, 'headers_too_large', 'LLMError'],
  invalid_http: [400, 'invalid_http', 'LLMError'],
  unsupported_media_type: [415, 'unsupported_media_type', 'LLMError'],
  misdirected_request: [421, 'misdirected_request', 'LLMError'],
  rate_limit_exceeded: [429, 'provider_rate_limited', 'LLMRateLimitError'],
  budget_exceeded: [429, 'budget_exceeded', 'LLMBudgetExceededError'],
  provider_rate_limited: [429, 'provider_rate_limited', 'LLMRateLimitError'],
  internal_error: [500, 'internal_error', 'LLMError'],
  configuration_error: [500, 'configuration_error', 'LLMConfigurationError'],
  unknown_profile: [500, 'unknown_profile', 'LLMConfigurationError'],
  not_implemented: [501, 'not_implemented', 'LLMError'],
  generation_failed: [500, 'llm_error', 'LLMError'],
  provider_api_error: [502, 'provider_api_error', 'LLMAPIError'],
  invalid_response: [502, 'provider_api_error', 'LLMAPIError'],
  starting: [503, 'provider_api_error', 'LLMAPIError'],
  draining: [503, 'provider_api_error', 'LLMAPIError'],
  bodies_full: [503, 'provider_api_error', 'LLMAPIError'],
  queue_full: [503, 'provider_api_error', 'LLMAPIError'],
  queue_timeout: [503, 'provider_api_error', 'LLMAPIError'],
  unavailable: [503, 'provider_api_error', 'LLMAPIError'],
  insufficient_memory: [503, 'provider_api_error', 'LLMAPIError'],
  provider_timeout: [504, 'provider_timeout', 'LLMTimeoutError'],
};

describe('POST /execute', () => {
  test('serves a prompt alone with all defaults', async () => {
    const generate = saying('Hi', ' there');
    const response = await post('/execute', asked, { generate }).expect(200);
    expect(response.body).toEqual({
      content: 'Hi there',
      model: 'test-model',
      usage: { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 },
      finish_reason: 'stop',
      metadata: {},
    });
    expect(generate.requests[0]).toEqual({
      kind: 'chat',
      n: 1,
      model: 'gpt-4',
      unknownModel: 'default',
      deadlineMs: 300_000,
      body: { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 2000 },
      defaults: { sampling: { temperature: 0.7 } },
    });
  });

  test('applies the config and returns max_depth in metadata', async () => {
    const generate = saying('x');
    const config = {
      model_name: 'fast',
      temperature: 0,
      max_tokens: 5,
      timeout_seconds: 1.5,
      task_type: 'triage',
      max_depth: 0,
      model_params: {
        top_p: 0.5,
        seed: 1,
        reasoning_effort: 'low',
        id_slot: 3,
        cache_prompt: true,
        max_tokens: 9,
      },
    };
    const response = await post('/execute', { prompt: 'Hello', config }, { generate }).expect(200);
    expect(response.body.metadata).toEqual({ max_depth: 0 });
    expect(generate.requests[0]).toMatchObject({ model: 'fast', deadlineMs: 1500 });
    expect(generate.requests[0]!.body).toEqual({
      messages: [{ role: 'user', content: 'Hello' }],
      temperature: 0,
      max_tokens: 5,
      top_p: 0.5,
      seed: 1,
      reasoning_effort: 'low',
    });
  });

  test('leaves out reasoning and returns the finish reason', async () => {
    const thinking = failing(new LMServError('generation_failed'));
    await post('/execute', asked, { generate: thinking }).expect(500);
    const silent = playing([
      { type: 'reasoning', index: 0, text: 'Hmm' },
      { type: 'finish', index: 0, reason: 'length' },
    ]);
    const response = await post('/execute', asked, { generate: silent });
    expect(response.body).toMatchObject({ content: '', finish_reason: 'length' });
  });
});

describe('a server with profiles', () => {
  const profiles = loadConfig({}, { env: {}, folder: import.meta.dirname }).profiles;
  const strict = routes({ execute: { profiles, strictProfiles: true, isKnownModel: () => false } });

  test('serves the built-in profile', async () => {
    const generate = saying('x');
    const body = { ...asked, config: { model_name: 'custodian-triage-balanced', temperature: 0 } };
    const response = await post('/execute', body, { generate, routes: strict }).expect(200);
    expect(response.body.metadata).toEqual({ max_depth: 2 });
    expect(generate.requests[0]).toMatchObject({
      provider: 'openrouter',
      model: 'anthropic/claude-sonnet-4',
      body: { temperature: 0, max_tokens: 1800, reasoning_effort: 'medium' },
    });
  });

  test('that are strict refuses other names with 500 unknown_profile', async () => {
    const body = { ...asked, config: { model_name: 'gpt-5' } };
    const response = await post('/execute', body, { generate: saying('x'), routes: strict }).expect(500);
    expect(response.body).toEqual({
      error: 'unknown_profile',
      message: 'There is no such profile or model',
      type: 'LLMConfigurationError',
    });
  });
});

describe('an invalid body', () => {
  test.each([
    ['prompt', {}],
    ['prompt', { prompt: '' }],
    ['prompt', { prompt: ['x'] }],
    ['config', { ...asked, config: 'gpt-4' }],
    ['config.model_name', { ...asked, config: { model_name: 7 } }],
    ['config.temperature', { ...asked, config: { temperature: 3 } }],
    ['config.max_tokens', { ...asked, config: { max_tokens: 0 } }],
    ['config.timeout_seconds', { ...asked, config: { timeout_seconds: 0 } }],
    ['config.timeout_seconds', { ...asked, config: { timeout_seconds: 1e9 } }],
    ['config.max_depth', { ...asked, config: { max_depth: 1.5 } }],
    ['config.task_type', { ...asked, config: { task_type: 1 } }],
    ['config.model_params.top_p', { ...asked, config: { model_params: { top_p: 2 } } }],
    [
      'config.model_params.reasoning_effort',
      { ...asked, config: { model_params: { reasoning_effort: 'x' } } },
    ],
  ])('%s is 400 naming the field', async (field, body) => {
    const response = await post('/execute', body).expect(400);
    expect(response.body).toMatchObject({ error: 'invalid_value', type: 'LLMError' });
    expect(response.body.message).toMatch(new RegExp(`^${field}: `));
  });

  test('that is not JSON is 400 in the same form', async () => {
    const response = await request(testApp())
      .post('/execute')
      .set('X-API-Key', KEY)
      .set('Content-Type', 'application/json')
      .send('{"prompt":')
      .expect(400);
    expect(response.body).toEqual({
      error: 'invalid_json',
      message: 'The body is not valid JSON',
      type: 'LLMError',
    });
  });
});

describe('errors', () => {
  test('every code of LMServ is in the mapping', () => {
    expect(Object.keys(MAPPING).sort()).toEqual(Object.keys(ERRORS).sort());
  });

  test.each(Object.entries(MAPPING))('%s', async (code, [status, error, type]) => {
    const failure = new LMServError(code as ErrorCode);
    const response = await post('/execute', asked, { generate: failing(failure) }).expect(status);
    expect(response.body).toEqual({ error, message: failure.message, type });
    const retryAfter = status === 503 ? '1' : undefined;
    expect(response.headers['retry-after']).toBe(retryAfter);
  });

  test('include the provider’s own status', async () => {
    const failure = new LMServError('provider_api_error', undefined, { providerStatus: 418 });
    const response = await post('/execute', asked, { generate: failing(failure) }).expect(502);
    expect(response.body.provider_status).toBe(418);
  });

  test('contain no credentials', async () => {
    const message =
      'GET https://x.example/v1?key=CANARY1&b=1 with Authorization: Bearer CANARY2 said sk-CANARY3CANARY3';
    const response = await post('/execute', asked, {
      generate: failing(new LMServError('provider_api_error', message)),
    });
    expect(response.text).not.toContain('CANARY');
    expect(response.body.message).toContain('?key=[redacted]&b=1');
  });

  test('are returned for a failure during the reply, instead of a shorter text', async () => {
    const broken = failing(new LMServError('provider_timeout'), ...events('Hi').slice(0, 2));
    const response = await post('/execute', asked, { generate: broken }).expect(504);
    expect(response.body).not.toHaveProperty('content');
  });
});
