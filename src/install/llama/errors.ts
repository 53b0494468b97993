/** A setup failure told in one screen: what failed, the lines that say why, and what to do. */
export class SetupError extends Error {
  override readonly name = 'SetupError';

  constructor(
    message: string,
    /** The log's telling lines, and then what the user can do. */
    readonly details: readonly string[] = [],
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The whole for a terminal. */
  report(): string {
    return [this.message, ...this.details].join('\n');
  }
}
