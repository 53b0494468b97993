/** What stops a run before it can judge anything: bad options, a server that does not start. One line for people. */
export class ChaosError extends Error {
  override readonly name = 'ChaosError';
}
