/** `lmserv/client`: asks an LMServ, or any server with OpenAI's protocol, from Node or a browser. */

export { createClient, generate, stream } from './client.js';
export {
  AuthenticationError,
  BadRequestError,
  BrokenStreamError,
  ConnectionError,
  InvalidOptionError,
  LLMClientError,
  RateLimitError,
  ServerError,
  TimeoutError,
  UnavailableError,
} from './errors.js';
export type { ErrorInfo } from './errors.js';
export type { Client, ClientOptions, GenerateOptions, ProviderName, TargetOptions } from './types.js';
