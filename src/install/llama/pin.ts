/** The pinned llama.cpp, read from vendor/llama.cpp.json. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

const pinSchema = z.strictObject({
  /** The npm package whose tarball carries the source, and its exact version. */
  package: z.string(),
  version: z.string(),
  /** The tarball's hash as npm writes it: `sha512-` and base64. */
  integrity: z.string().regex(/^sha512-[A-Za-z0-9+/]+=*$/),
  /** The git bundle's path in the tarball, and its hash in hex. */
  bundle: z.string(),
  bundleSha256: z.string().regex(/^[0-9a-f]{64}$/),
  commit: z.string().regex(/^[0-9a-f]{40}$/),
  llamaVersion: z.string(),
});

export type Pin = z.infer<typeof pinSchema>;

export async function readPin(root: string): Promise<Pin> {
  return pinSchema.parse(JSON.parse(await readFile(path.join(root, 'vendor/llama.cpp.json'), 'utf8')));
}

/** The tarball's sha512 in hex. */
export function tarballDigest(pin: Pin): string {
  return Buffer.from(pin.integrity.slice('sha512-'.length), 'base64').toString('hex');
}

/** `0.5.0-de3ff815`: names the source in the cache. */
export const sourceName = (pin: Pin): string => `${pin.llamaVersion}-${pin.commit.slice(0, 8)}`;
