import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import type { Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { bounded, TimeUp } from './bounded.js';
import { schemaProblem } from './schema-size.js';

/** A form's check is made in milliseconds; nobody's may hold up everybody's tokens. Milliseconds. */
const MAKING_MS = 200;

/** It runs in microseconds. Milliseconds. */
const RUNNING_MS = 100;

/** Characters of a validator's message that are handed on. */
const MAX_MESSAGE = 300;

/** Formats are for people to read: a model's reply is not refused for a date. */
const OPTIONS = { strict: false, validateFormats: false, ownProperties: true, logger: false } as const;

/**
 * For one schema each, because Ajv keeps all that it ever compiled. Inlined references could grow without bound, and
 * code that runs once is not worth optimising.
 */
const COMPILER = {
  ...OPTIONS,
  meta: false,
  validateSchema: false,
  inlineRefs: false,
  code: { optimize: false },
} as const;

/** Checks schemas themselves; it compiles none, so it does not grow. */
const metaValidator = new Ajv2020(OPTIONS);

/** What is wrong with a value, undefined when it fits. */
export type Check = (value: unknown) => string | undefined;

/**
 * Makes a check of a JSON schema (2020-12) that a client sent. It may refer to its own parts only, and is limited in
 * size and in the time that making and running the check take.
 *
 * @throws LMServError `invalid_value` naming `schema`; the check throws the same for a schema that takes too long.
 */
export function compileSchema(given: JsonObject): Check {
  // Which draft it says it is decides nothing here, and a base address would change what `#/…` means.
  const { $schema: _draft, $id: _base, ...schema } = given;
  survey(schema);
  const validate = compile(schema);
  return (value) => (limited(() => validate(value), RUNNING_MS) ? undefined : describe(validate.errors));
}

function compile(schema: JsonObject): ValidateFunction {
  let valid: unknown;
  try {
    valid = metaValidator.validateSchema(schema);
    if (valid === true) return limited(() => new Ajv2020(COMPILER).compile(schema), MAKING_MS);
  } catch (error) {
    throw error instanceof LMServError ? error : invalid((error as Error).message);
  }
  throw invalid(describe(metaValidator.errors));
}

/**
 * Gives work more time when the machine was busy with something else, but not more of the processor.
 *
 * @throws LMServError `invalid_value` for what takes too long or recurses without an end.
 */
function limited<T>(run: () => T, ms: number): T {
  const before = process.cpuUsage();
  for (let patience = ms; ; patience *= 2) {
    try {
      return bounded(run, patience);
    } catch (error) {
      if (!(error instanceof TimeUp || error instanceof RangeError)) throw error;
      const { user, system } = process.cpuUsage(before);
      if (error instanceof RangeError || (user + system) / 1_000 >= ms / 2)
        throw invalid('takes too long to check');
    }
  }
}

/** Refuses what is too large, refers elsewhere, or would make the check reply later than it is asked. */
function survey(schema: JsonObject): void {
  const problem = schemaProblem(schema);
  if (problem !== undefined) throw invalid(problem);
  const visit = (value: Json): void => {
    if (value === null || typeof value !== 'object') return;
    if (!Array.isArray(value)) checkKeywords(value);
    Object.values(value).forEach(visit);
  };
  visit(schema);
}

function checkKeywords(node: JsonObject): void {
  for (const keyword of ['$ref', '$dynamicRef', '$recursiveRef']) {
    const target = node[keyword];
    if (typeof target === 'string' && !target.startsWith('#')) {
      throw invalid(`${keyword} may only point into the schema itself, such as #/$defs/item`);
    }
  }
  if (node.$async === true) throw invalid('$async is not supported');
}

/** Where and what, without the value itself. */
function describe(errors: readonly ErrorObject[] | null | undefined): string {
  const first = errors?.[0];
  if (!first) return 'is not valid';
  return `${first.instancePath || 'it'} ${first.message ?? 'is not valid'}`.slice(0, MAX_MESSAGE);
}

function invalid(message: string): LMServError {
  return new LMServError('invalid_value', `schema: ${message.slice(0, MAX_MESSAGE)}`, { param: 'schema' });
}
