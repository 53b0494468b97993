/** LMServ as a library. */
export { createServer, type CreateServerOptions } from './create-server.js';
export { LMServ } from './server.js';
export { ConfigError, loadConfig, type Config } from './config.js';
export { LMServError, type ErrorCode } from './errors.js';
export type * from './contract.js';
