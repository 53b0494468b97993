/** LMServ as a library. */
export { createServer, type CreateServerOptions } from './create-server.js';
export { LMServ, type Extensions } from './server.js';
export { ConfigError, loadConfig, type Config } from './config.js';
export { LMServError, type ErrorCode } from './errors.js';
export { collect } from './dialects/collect.js';
export { withoutWorkers } from './backends/without-workers.js';
export type { Call, Dialect, ReplyInfo, StreamEncoder } from './dialects/dialect.js';
export type { Authenticate } from './http/auth.js';
export type { Route } from './http/routes.js';
export * from './routing-policy.js';
export type * from './contract.js';
