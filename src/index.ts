/** LMServ as a library. */
export { createServer, type CreateServerOptions } from './app/create-server.js';
export type { Extensions } from './app/compose.js';
export { LMServ } from './app/server.js';
export { ConfigError, loadConfig, type Config } from './config/load.js';
export { LMServError, type ErrorCode } from './errors.js';
export type { Choice, Collected } from './dialects/shared/collect.js';
export { withoutWorkers } from './backends/status.js';
export type { Call, Dialect, ReplyInfo, StreamEncoder } from './dialects/shared/dialect.js';
export type { Authenticate } from './http/auth.js';
export type { Route } from './http/routes.js';
export * from './dialects/llm-connect/routing-policy.js';
export type * from './contract.js';
