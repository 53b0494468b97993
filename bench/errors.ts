/** A benchmark cannot run; the message is all that the user needs. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}
