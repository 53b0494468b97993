export function interruptible<T>(task: (signal: AbortSignal) => Promise<T>, hint?: string): Promise<T>;
