import type { Json } from '../contract.js';
import { jsonObject } from './fields.js';
import { isSmallGrammar } from './grammar-size.js';

/**
 * Objects and lists in one schema: far above any form that a model could fill. A worker makes a grammar of it, which
 * takes the square of the number of optional properties (300: 0.7 s, 2,000: 15 s and gigabytes) and cannot be
 * cancelled.
 */
export const MAX_NODES = 300;

/** Objects and lists in all tools of a request. */
export const MAX_TOOL_NODES = 2_000;

/** Counts the objects and lists of a value. */
export function countNodes(value: Json | undefined): number {
  if (value === null || typeof value !== 'object') return 0;
  return Object.values(value).reduce((sum: number, part: Json) => sum + countNodes(part), 1);
}

/** The patterns in a JSON schema; each becomes a part of a worker's grammar. */
export function patternsOf(value: Json): string[] {
  if (value === null || typeof value !== 'object') return [];
  const own = !Array.isArray(value) && typeof value.pattern === 'string' ? [value.pattern] : [];
  return [...own, ...Object.values(value).flatMap(patternsOf)];
}

export const TOO_LARGE_PATTERN = 'has a pattern of too many groups or repetitions';

/** A JSON schema that a worker can take. */
export const boundedSchema = jsonObject
  .refine((schema) => patternsOf(schema as Json).every(isSmallGrammar), TOO_LARGE_PATTERN)
  .refine((schema) => countNodes(schema as Json) <= MAX_NODES, `has more than ${MAX_NODES} parts`);
