import { loadConfig } from './config.js';
import type { Logger } from './observe/logger.js';
import { LMServ } from './server.js';

export interface CreateServerOptions {
  readonly host?: string;
  /** 0 takes a free port; `server.port` reads it back after `start()`. */
  readonly port?: number;
  readonly apiKey?: string;
  /** Any variable of `docs/configuration.md`, by name; goes before the environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly logger?: Logger;
}

/** An LMServ for use in a program of one's own. @throws ConfigError. */
export function createServer(options: CreateServerOptions = {}): LMServ {
  const { host, port, apiKey, env, logger } = options;
  const overrides = {
    ...env,
    ...(host === undefined ? {} : { HOST: host }),
    ...(port === undefined ? {} : { PORT: String(port) }),
    ...(apiKey === undefined ? {} : { API_KEY: apiKey }),
  };
  return new LMServ(loadConfig(overrides), logger);
}
