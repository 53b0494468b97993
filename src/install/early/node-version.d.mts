export function isOlder(a: string, b: string): boolean;
export function unsupportedNode(root: string, running?: string): string | undefined;
