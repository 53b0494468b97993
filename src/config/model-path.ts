export const HUB_PREFIX = 'hf:';

/** Whether a model's path names a repository of the hub instead of a file. */
export const isOnHub = (path: string): boolean => path.startsWith(HUB_PREFIX);
