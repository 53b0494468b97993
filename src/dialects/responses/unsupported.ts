import { isObject } from '../../wire/json-shape.js';

/** Max characters of a type that an error quotes. */
const MAX_QUOTE = 64;

/**
 * The error for an object whose `type` is not among those a union takes; clients learn the type by name.
 *
 * @param advice what to do instead.
 */
export function unsupportedType(
  what: string,
  advice: string,
): (issue: { readonly input?: unknown }) => string {
  return ({ input }) => {
    if (!isObject(input) || typeof input.type !== 'string') return `must be ${what} with a type`;
    const name = JSON.stringify(input.type.slice(0, MAX_QUOTE).toWellFormed());
    return `${name} is not supported here; ${advice}`;
  };
}
