export interface LockOptions {
  signal?: AbortSignal | undefined;
  onWait?: ((holder: number | 'unknown') => void) | undefined;
}
export function cacheDir(env?: NodeJS.ProcessEnv): string;
export function checkoutLock(root: string): string;
export function withLock<T>(file: string, options: LockOptions, task: () => Promise<T>): Promise<T>;
