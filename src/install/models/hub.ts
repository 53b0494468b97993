/** The model hub's listing of a repository. */
import { z } from 'zod';
import { compact } from '../../compact.js';
import { DownloadError, safeUrl } from '../download/request.js';
import { get, type Headers } from '../download/request.js';
import { withRetries } from '../download/retry.js';
import type { HubFile } from './choose.js';
import { ModelError } from './spec.js';

export const DEFAULT_ENDPOINT = 'https://huggingface.co';

export interface Hub {
  /** The hub's address, without a path. */
  endpoint: string;
  /** Sent to the endpoint's own origin only. */
  token: string | undefined;
  signal: AbortSignal | undefined;
  /** Wait before the first retry, milliseconds. */
  backoffMs?: number | undefined;
}

const entries = z.array(
  z.object({
    type: z.string(),
    path: z.string(),
    size: z.number(),
    lfs: z.object({ oid: z.string(), size: z.number() }).optional(),
  }),
);

/**
 * The hub's address and key from the environment.
 *
 * @throws ModelError for values that cannot be used; it does not repeat the key
 */
export function hubOptions(env: NodeJS.ProcessEnv): Partial<Pick<Hub, 'endpoint' | 'token'>> {
  const [endpoint, token] = [env['HF_ENDPOINT']?.trim(), env['HF_TOKEN']?.trim()];
  if (endpoint && !/^https?:\/\/./i.test(endpoint))
    throw new ModelError(`HF_ENDPOINT must be an address such as ${DEFAULT_ENDPOINT}`);
  if (token && !/^[\x21-\x7e]+$/.test(token))
    throw new ModelError('HF_TOKEN must be printable ASCII without spaces');
  return compact({ endpoint: endpoint || undefined, token: token || undefined });
}

export function hubHeaders({ token }: Hub): Headers {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** A file's URL. Its checksum comes from the listing, so that a change in between is detected. */
export function fileUrl({ endpoint }: Hub, repo: string, file: string): string {
  const encoded = file.split('/').map(encodeURIComponent).join('/');
  return new URL(`/${repo}/resolve/main/${encoded}`, endpoint).href;
}

/** Explains a status other than 200 to the user. */
export function explainStatus(
  repo: string,
  status: number,
  token: string | undefined,
): ModelError | undefined {
  if (status === 404)
    return new ModelError(
      `The hub has no repository ${repo} with that file, or it is private: check the spelling`,
    );
  if (status !== 401 && status !== 403) return undefined;
  const next = token
    ? 'accept its terms on its page, and check that HF_TOKEN gives access to it'
    : 'if it exists, accept its terms on its page and set HF_TOKEN to your token';
  return new ModelError(`${repo} does not exist, is private, or requires its terms to be accepted: ${next}`);
}

/** All files of a repository. @throws ModelError; DownloadError when the hub cannot be reached */
export async function listFiles(hub: Hub, repo: string): Promise<HubFile[]> {
  const files: HubFile[] = [];
  let url: string | undefined = new URL(`/api/models/${repo}/tree/main?recursive=1`, hub.endpoint).href;
  while (url !== undefined) {
    const current: string = url;
    const retry = { attempts: 4, backoffMs: hub.backoffMs ?? 500, signal: hub.signal };
    const page = await withRetries(retry, () => getPage(hub, repo, current));
    files.push(...toHubFiles(page.files));
    url = page.next;
  }
  return files;
}

async function getPage(
  hub: Hub,
  repo: string,
  url: string,
): Promise<{ files: unknown; next: string | undefined }> {
  const response = await get(url, hubHeaders(hub), hub.signal).catch((error: unknown) => {
    if (error instanceof DownloadError || hub.signal?.aborted) throw error;
    throw new DownloadError('network', `${safeUrl(url)}: ${(error as Error).message}`, undefined, {
      cause: error,
    });
  });
  if (response.statusCode !== 200) {
    await response.body.dump();
    const problem = explainStatus(repo, response.statusCode, hub.token);
    throw (
      problem ??
      new DownloadError('http', `${safeUrl(url)} returned ${response.statusCode}`, response.statusCode)
    );
  }
  return { files: await response.body.json(), next: nextPage(response.headers['link'], url) };
}

/** The next page's address, from the Link header, if it belongs to the hub. */
function nextPage(link: unknown, current: string): string | undefined {
  const target = typeof link === 'string' ? /<([^>]+)>\s*;\s*rel="?next"?/.exec(link)?.[1] : undefined;
  if (target === undefined || !URL.canParse(target, current)) return undefined;
  const next = new URL(target, current);
  return next.origin === new URL(current).origin ? next.href : undefined;
}

function toHubFiles(listing: unknown): HubFile[] {
  return entries
    .parse(listing)
    .filter(({ type }) => type === 'file')
    .map(({ path, size, lfs }) => ({
      path,
      size: lfs?.size ?? size,
      sha256: lfs?.oid.replace(/^sha256:/, ''),
    }));
}
