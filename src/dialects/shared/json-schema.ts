import { Script } from 'node:vm';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import type { Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { schemaProblem } from './schema-size.js';

/** Max time to compile a schema, milliseconds: one request's validation must not stall every stream. */
const COMPILE_MS = 200;

/** Max time to validate a reply, milliseconds. */
const VALIDATE_MS = 100;

/** Max length of a validator's message, characters. */
const MAX_MESSAGE = 300;

/** Formats are not validated, so that a model's reply is not rejected for the form of a date. */
const OPTIONS = { strict: false, validateFormats: false, ownProperties: true, logger: false } as const;

/**
 * Each schema gets its own Ajv, which keeps everything it compiles. Inlined references could grow without bound, and
 * code that runs once is not worth optimising.
 */
const COMPILER = {
  ...OPTIONS,
  meta: false,
  validateSchema: false,
  inlineRefs: false,
  code: { optimize: false },
} as const;

/** Validates schemas. It compiles none, so it does not grow. */
const metaValidator = new Ajv2020(OPTIONS);

/** Returns what is wrong with a value; undefined if it conforms to the schema. */
export type Check = (value: unknown) => string | undefined;

/**
 * Compiles a client's JSON schema (2020-12) to a check. The schema may only refer to its own parts and is limited in
 * size, and in the time that compiling and validating take.
 *
 * @throws LMServError `invalid_value` naming `schema`; the check throws the same for a schema that takes too long.
 */
export function compileSchema(clientSchema: JsonObject): Check {
  // The declared draft is ignored, and a base URI would change the meaning of `#/…`.
  const { $schema: _draft, $id: _base, ...schema } = clientSchema;
  checkLimits(schema);
  const validate = compile(schema);
  return (value) => (runLimited(() => validate(value), VALIDATE_MS) ? undefined : describe(validate.errors));
}

function compile(schema: JsonObject): ValidateFunction {
  let valid: unknown;
  try {
    valid = metaValidator.validateSchema(schema);
    if (valid === true) return runLimited(() => new Ajv2020(COMPILER).compile(schema), COMPILE_MS);
  } catch (error) {
    throw error instanceof LMServError ? error : invalid((error as Error).message);
  }
  throw invalid(describe(metaValidator.errors));
}

/**
 * Limits the CPU time of `run`, so that a busy machine does not make it fail.
 *
 * @throws LMServError `invalid_value` when it takes too long or recurses without end.
 */
function runLimited<T>(run: () => T, ms: number): T {
  const before = process.cpuUsage();
  for (let timeout = ms; ; timeout *= 2) {
    try {
      return runWithTimeout(run, timeout);
    } catch (error) {
      if (!(error instanceof ScriptTimeout || error instanceof RangeError)) throw error;
      const { user, system } = process.cpuUsage(before);
      if (error instanceof RangeError || (user + system) / 1_000 >= ms / 2)
        throw invalid('takes too long to check');
    }
  }
}

const script = new Script('run()');

class ScriptTimeout extends Error {}

/**
 * Interrupts synchronous work: V8 can stop a script of `node:vm` anywhere, even inside a regular expression.
 *
 * @throws ScriptTimeout after `ms` milliseconds; the error of `run`.
 */
function runWithTimeout<T>(run: () => T, ms: number): T {
  try {
    return script.runInNewContext({ run }, { timeout: ms }) as T;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new ScriptTimeout();
    throw error;
  }
}

/** Refuses a schema that is too large, refers to other documents, or would make the check asynchronous. */
function checkLimits(schema: JsonObject): void {
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

/** Describes the first error and its place without quoting the value. */
function describe(errors: readonly ErrorObject[] | null | undefined): string {
  const first = errors?.[0];
  if (!first) return 'is not valid';
  return `${first.instancePath || 'it'} ${first.message ?? 'is not valid'}`.slice(0, MAX_MESSAGE);
}

function invalid(message: string): LMServError {
  return new LMServError('invalid_value', `schema: ${message.slice(0, MAX_MESSAGE)}`, { param: 'schema' });
}
