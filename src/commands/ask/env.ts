import { optionsFromEnv } from '../../client/env.js';
import type { Env } from '../../client/env.js';
import { connectUrl } from '../../wire/address.js';
import type { ClientOptions } from '../../client/types.js';

/** The server's own defaults, for when it runs from the same folder and `.env` as this command. */
const SERVER_PORT = '8000';
const SERVER_KEY = 'changeme';

/**
 * As the client library reads the LLM_* variables, without a fallback. Where they name no server, it is the one of this
 * machine: HOST, PORT and API_KEY are then the server's own variables.
 */
export function clientOptionsForAsk(env: Env): ClientOptions {
  const options = { ...optionsFromEnv(env), fallback: 'none' } as const;
  const elsewhere =
    options.baseUrl !== undefined || options.url !== undefined || options.provider === 'openai';
  if (elsewhere) return options;
  return { ...options, baseUrl: ownServer(env), apiKey: options.apiKey ?? env['API_KEY'] ?? SERVER_KEY };
}

function ownServer(env: Env): string {
  const port = env['PORT']?.trim();
  return connectUrl(env['HOST']?.trim() || 'localhost', port && port !== '0' ? port : SERVER_PORT);
}
