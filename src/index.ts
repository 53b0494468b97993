/** LMServ as a library. */
export { createServer, type CreateServerOptions } from './create-server.js';
export { LMServ, type Extensions } from './server.js';
export { ConfigError, loadConfig, type Config } from './config.js';
export { LMServError, type ErrorCode } from './errors.js';
export type { Authenticate } from './http/auth.js';
export * from './routing-policy.js';
export type * from './contract.js';
