export function interruptible<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T>;
