/** The service cannot be installed; the message says what to do. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
}
