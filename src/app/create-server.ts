import { loadConfig } from '../config/load.js';
import type { Extensions } from './compose.js';
import { LMServ } from './server.js';

export interface CreateServerOptions extends Extensions {
  readonly host?: string;
  /** 0 takes a free port; `server.port` reads it back after `start()`. */
  readonly port?: number;
  readonly apiKey?: string;
  /** Any variable of `docs/configuration.md`, by name; takes precedence over the environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly disableProfiles?: boolean;
  readonly strictProfiles?: boolean;
}

/** An LMServ inside another program. @throws ConfigError. */
export function createServer(options: CreateServerOptions = {}): LMServ {
  const { host, port, apiKey, env, disableProfiles, strictProfiles, ...extensions } = options;
  const named = { HOST: host, PORT: port === undefined ? undefined : String(port), API_KEY: apiKey };
  const overrides = {
    ...env,
    ...Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined)),
  };
  return new LMServ(loadConfig(overrides, { disableProfiles, strictProfiles }), extensions);
}
