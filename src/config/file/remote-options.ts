import type { RemoteOptions } from '../../backends/remote/options.js';
import type { RemoteSettings } from './schema.js';

/**
 * Builds the options of a remote backend from its entry in the file.
 *
 * @param lookup the value of an environment variable; an empty one counts as not set.
 */
export function remoteOptions(
  name: string,
  remote: RemoteSettings,
  lookup: (variable: string) => string | undefined,
): RemoteOptions {
  const { timeouts, retries } = remote;
  const key = remote.apiKeyEnv === undefined ? undefined : lookup(remote.apiKeyEnv)?.trim();
  return {
    name,
    baseUrl: remote.baseUrl,
    model: remote.model,
    kind: remote.kind,
    task: remote.task,
    maxTokensField: remote.maxTokensField,
    apiKey: key,
    apiKeyEnv: remote.apiKeyEnv,
    proxy: remote.proxy,
    timeouts: {
      connectMs: timeouts.connectSecs * 1000,
      firstTokenMs: timeouts.firstTokenSecs * 1000,
      tokenMs: timeouts.tokenSecs * 1000,
      totalMs: timeouts.totalSecs * 1000,
    },
    retries: { attempts: retries.attempts, budgetMs: retries.budgetSecs * 1000 },
  };
}
