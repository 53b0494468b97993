import { readFileSync } from 'node:fs';
import { parseConfigFile } from './load.js';
import type { ConfigFile } from './schema.js';

export interface ReloadOptions {
  readonly file: string;
  /** The text that is in force; what is the same is not applied again. */
  readonly text: string;
  /** Puts a configuration into force; when it throws, the one before stays. */
  readonly apply: (next: ConfigFile) => Promise<void>;
  /** Told why a changed file was not put into force: ConfigFileError, the system's error, or what `apply` threw. */
  readonly onError: (error: unknown) => void;
}

/**
 * Looks at the configuration file again, on SIGHUP or when its folder changed, and applies what is new. One at a time:
 * a look during another one follows it. A bad file changes nothing, and is told of once until it changes again.
 */
export class ConfigReloader {
  readonly #options: ReloadOptions;
  /** Of the last look, good or bad. */
  #seen: string;
  #looking: Promise<void> = Promise.resolve();

  constructor(options: ReloadOptions) {
    this.#options = options;
    this.#seen = options.text;
  }

  /**
   * Resolves when the file, as it was found, is in force or has been refused; never rejects.
   *
   * @param anyway also when its text is the same, as SIGHUP asks for: what kept it from being applied may be mended.
   */
  look(anyway = false): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look(anyway));
    return this.#looking;
  }

  async #look(anyway: boolean): Promise<void> {
    const { file, apply, onError } = this.#options;
    try {
      const text = readFileSync(file, 'utf8');
      if (text === this.#seen && !anyway) return;
      this.#seen = text;
      await apply(parseConfigFile(text, file));
    } catch (error) {
      onError(error);
    }
  }
}
