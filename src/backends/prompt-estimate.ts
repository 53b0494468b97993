import type { JsonObject } from '../contract.js';

/** Average bytes of UTF-8 per token, in most languages. */
const BYTES_A_TOKEN = 4;

/** Estimates the tokens of a request's prompt when there is no count. Images and audio are left out. */
export function estimatePromptTokens({ prompt, messages, tools }: JsonObject): number {
  // A list holds token ids.
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
