/** A model that cannot be had; the message is for the user, mostly one line, with what to do. */
export class ModelError extends Error {
  override readonly name = 'ModelError';
}
