import { UserError } from '../src/errors.js';

/** A benchmark cannot run: a bad option, a missing program, a target that does not start. */
export class BenchError extends UserError {}
