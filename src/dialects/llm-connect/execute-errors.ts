import type { ErrorCode, LMServError } from '../../errors.js';
import { redact } from '../../wire/redact.js';

/** How llm-connect's clients expect an error: the exception's name, and the code and status where LMServ's differ. */
interface Row {
  readonly type: string;
  readonly code?: string;
  readonly status?: number;
}

const api: Row = { type: 'LLMAPIError', code: 'provider_api_error' };
const rateLimit: Row = { type: 'LLMRateLimitError', code: 'provider_rate_limited' };
const configuration: Row = { type: 'LLMConfigurationError' };
/** The request is invalid. llm-connect has no class for this; the code says what is wrong. */
const request: Row = { type: 'LLMError' };

const ROWS: Record<ErrorCode, Row> = {
  invalid_json: request,
  invalid_value: request,
  context_length_exceeded: request,
  special_token: request,
  invalid_api_key: request,
  forbidden: request,
  not_found: request,
  // Unknown names fall back to the default model, so this means that no model is configured.
  model_not_found: { type: 'LLMConfigurationError', code: 'configuration_error', status: 500 },
  method_not_allowed: request,
  request_timeout: request,
  body_too_large: request,
  prompt_quarantined: request,
  headers_too_large: request,
  invalid_http: request,
  unsupported_media_type: request,
  misdirected_request: request,
  rate_limit_exceeded: rateLimit,
  budget_exceeded: { type: 'LLMBudgetExceededError' },
  provider_rate_limited: rateLimit,
  internal_error: { type: 'LLMError' },
  configuration_error: configuration,
  unknown_profile: configuration,
  not_implemented: { type: 'LLMError' },
  generation_failed: { type: 'LLMError', code: 'llm_error' },
  provider_api_error: api,
  invalid_response: api,
  // For these the pool is the provider; they keep 503 and Retry-After, as on every route.
  starting: api,
  draining: api,
  bodies_full: api,
  queue_full: api,
  queue_timeout: api,
  unavailable: api,
  insufficient_memory: api,
  provider_timeout: { type: 'LLMTimeoutError' },
};

/** Builds llm-connect's error, `{error, message, type, provider_status?}`, without credentials in the message. */
export function executeError(error: LMServError): { body: unknown; status?: number } {
  const { type, code = error.code, status } = ROWS[error.code];
  const body = {
    error: code,
    message: redact(error.message),
    type,
    ...(error.providerStatus === undefined ? {} : { provider_status: error.providerStatus }),
  };
  return status === undefined ? { body } : { body, status };
}
