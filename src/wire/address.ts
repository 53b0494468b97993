/** Addresses that a server listens on, and how to connect to them. Pure. */

const LOOPBACK = ['127.0.0.1', 'localhost', '::1'];

/** Whether only this machine can reach a server that listens on `host`. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.includes(host);
}

/** The host to connect to, from its own machine, for a server that listens on `host`. */
export function connectHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** The same as a URL, without a path. */
export function connectUrl(host: string, port: number | string): string {
  const target = connectHost(host);
  return `http://${target.includes(':') ? `[${target}]` : target}:${port}`;
}
