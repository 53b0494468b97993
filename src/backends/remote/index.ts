/** Models served by other servers that speak OpenAI's protocol. */
export { RemoteBackend, type RemoteTools } from './backend.js';
export {
  REMOTE_RETRIES,
  REMOTE_TIMEOUTS,
  type MaxTokensField,
  type RemoteKind,
  type RemoteOptions,
  type RemoteTimeouts,
} from './options.js';
export { createRedactor } from './redact.js';
