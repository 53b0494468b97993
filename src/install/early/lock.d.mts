export interface LockOptions {
  signal?: AbortSignal | undefined;
  onWait?: ((holder: number | 'unknown') => void) | undefined;
}
export class CacheError extends Error {}
export function cacheDir(env?: NodeJS.ProcessEnv): string;
export function prepareCache(env?: NodeJS.ProcessEnv): Promise<void>;
export function checkoutLock(root: string): string;
export function withLock<T>(file: string, options: LockOptions, task: () => Promise<T>): Promise<T>;
