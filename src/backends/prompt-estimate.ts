import type { JsonObject } from '../contract.js';

/** One token stands for about this many bytes of UTF-8, in most languages. */
const BYTES_A_TOKEN = 4;

/** About how many tokens a request's prompt has, for when nobody has counted them. Images and sound are left out. */
export function estimatePromptTokens({ prompt, messages, tools }: JsonObject): number {
  // A list is one of token ids.
  if (Array.isArray(prompt)) return prompt.length;
  return Math.max(1, Math.ceil(bytes([prompt, messages, tools]) / BYTES_A_TOKEN));
}

function bytes(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (value === null || typeof value !== 'object') return 0;
  let sum = 0;
  for (const [name, part] of Object.entries(value)) {
    if (name !== 'image_url' && name !== 'input_audio') sum += bytes(part);
  }
  return sum;
}
