import { UserError } from '../../src/errors.js';

/** What stops a run before it can judge anything: a server that does not start, an interrupt. */
export class ChaosError extends UserError {}
