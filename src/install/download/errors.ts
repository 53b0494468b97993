/** Why a download failed. `transient` ones were retried before this was thrown. */
export type DownloadErrorCode = 'http' | 'network' | 'checksum' | 'size' | 'disk_full' | 'content';

/** A download's failure, in one line without credentials; `status` is set when a server answered with it. */
export class DownloadError extends Error {
  override readonly name = 'DownloadError';

  constructor(
    readonly code: DownloadErrorCode,
    message: string,
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A URL fit for messages: neither user, password nor query, where signatures and tokens are. */
export function safeUrl(url: string | URL): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
