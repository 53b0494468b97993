/** The models that are served: those of the configuration, and those whose files lie in the folders of models. */

import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConfigFile } from '../config/file/schema.js';
import { DEMO_MODEL, MODELS_FOLDER, type Config } from '../config/load.js';
import { isOnHub } from '../config/model-path.js';
import type { Logger } from '../observe/logger.js';
import { findDownloaded } from '../install/models/record.js';
import { parseModelSpec, specKey } from '../install/models/spec.js';
import { arrange } from './arrange.js';
import { foldersOf, Looker, type Unusable } from './look.js';
import { merge, type Merged, type MergeOptions } from './merge.js';

/** Interval between two looks, milliseconds. */
const POLL_MS = 1_000;

export interface CatalogueOptions extends Omit<MergeOptions, 'identities'> {
  /** Folders whose files are served by their names. */
  readonly folders: readonly string[];
  /** Where models of the hub are downloaded to. */
  readonly downloads: string;
  readonly logger?: Logger | undefined;
  /** Puts a changed configuration into force; when it throws, the former one stays. */
  readonly apply?: ((file: ConfigFile) => Promise<void>) | undefined;
  /** Waits, milliseconds, without keeping the process alive. */
  readonly wait?: ((ms: number) => Promise<void>) | undefined;
}

/**
 * Looks at the files once a second; the system's events do not exist on network file systems and can run out. A file that
 * was added, replaced or removed changes the configuration in force, and requests that run keep what they began with.
 */
export class Catalogue {
  readonly #options: CatalogueOptions;
  readonly #wait: (ms: number) => Promise<void>;
  readonly #looker = new Looker();
  /** The configuration without the folders. */
  #base: ConfigFile;
  #merged: Merged;
  /** Models that were refused; they are not tried again while nothing changes about them. */
  #refused = '';
  /** The result of the last look, in force or refused, and what it was made from. */
  #last: { readonly state: string; readonly merged: Merged };
  #turn: Promise<unknown> = Promise.resolve();
  #watching = false;

  private constructor(base: ConfigFile, options: CatalogueOptions) {
    this.#options = options;
    this.#wait = options.wait ?? ((ms) => delay(ms, undefined, { ref: false }));
    this.#base = base;
    this.#merged = { file: base, unusable: [] };
    this.#last = { state: '', merged: this.#merged };
  }

  /** Looks for the first time. Applies nothing. */
  static async open(base: ConfigFile, options: CatalogueOptions): Promise<Catalogue> {
    const catalogue = new Catalogue(base, options);
    const merged = await catalogue.#look(base);
    catalogue.#logNew(merged.unusable);
    catalogue.#merged = merged;
    return catalogue;
  }

  /** The configuration with the models of the folders. */
  get file(): ConfigFile {
    return this.#merged.file;
  }

  /** Files that are not served, with the reasons. */
  get unusable(): readonly Unusable[] {
    return this.#merged.unusable;
  }

  /** Looks once a second until `close`. */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    void this.#poll();
  }

  close(): void {
    this.#watching = false;
  }

  /** Replaces the configuration. @throws what `apply` throws; the former configuration then stays. */
  use(base: ConfigFile): Promise<void> {
    return this.#inTurn(async () => {
      const merged = await this.#look(base);
      await this.#options.apply?.(merged.file);
      this.#base = base;
      this.#logNew(merged.unusable);
      this.#merged = merged;
    });
  }

  async #poll(): Promise<void> {
    while (this.#watching) {
      await this.#wait(POLL_MS);
      await this.#inTurn(() => this.#check());
    }
  }

  /** Changes are applied one after the other. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #check(): Promise<void> {
    const before = this.#last.merged;
    try {
      const merged = await this.#look(this.#base);
      if (!this.#watching || merged === before) return;
      const models = JSON.stringify(merged.file.models);
      if (models === JSON.stringify(this.file.models) || models === this.#refused) {
        this.#logNew(merged.unusable);
        this.#merged = { ...this.#merged, unusable: merged.unusable };
        return;
      }
      this.#refused = models;
      await this.#options.apply?.(merged.file);
      this.#put(merged);
      this.#refused = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.logger?.error({ event: 'models_refused', reason }, 'changed model files not taken');
    }
  }

  #put(merged: Merged): void {
    const before = this.#merged.file.models;
    const after = merged.file.models;
    this.#logNew(merged.unusable);
    this.#merged = merged;
    const changed = (left: ConfigFile['models'], right: ConfigFile['models']) =>
      Object.keys(left).filter((name) => !(name in right));
    const replaced = Object.keys(after).filter(
      (name) => name in before && before[name]!.revision !== after[name]!.revision,
    );
    const [added, removed] = [changed(after, before), changed(before, after)];
    const line = { event: 'models_changed', added, removed, replaced };
    this.#options.logger?.info(line, 'the files of models have changed');
  }

  /** Logs why files are not served, once. */
  #logNew(unusable: readonly Unusable[]): void {
    const known = new Set(this.unusable.map(({ shown, reason }) => `${shown}\n${reason}`));
    for (const { shown, reason } of unusable.filter((each) => !known.has(`${each.shown}\n${each.reason}`)))
      this.#options.logger?.debug(
        { event: 'model_skipped', file: shown, reason },
        'a model file is not served',
      );
  }

  async #look(base: ConfigFile): Promise<Merged> {
    const { folders, downloads } = this.#options;
    const files = await configuredFiles(base, downloads);
    const look = await this.#looker.look(foldersOf(folders, [...files.values()]));
    const identities = new Map<string, string>();
    for (const [name, path] of files) {
      const stats = await stat(path).catch(() => undefined);
      if (stats) identities.set(name, `${stats.dev}:${stats.ino}`);
    }
    const seen = look.files.map(({ path, revision, problem }) => [path, revision, problem]);
    const state = JSON.stringify([base, seen, look.unusable, [...identities]]);
    if (state !== this.#last.state) {
      const merged = merge(base, arrange(look), { ...this.#options, identities }, this.file);
      this.#last = { state, merged };
    }
    return this.#last.merged;
  }
}

/** What the configuration says about the folders. @param reserved names of models that are in no configuration. */
export function catalogueOptions(
  { modelFolders, model, provider }: Config,
  reserved: readonly string[] = [],
): CatalogueOptions {
  return {
    folders: modelFolders,
    downloads: MODELS_FOLDER,
    settings: { ...model, lora: [] },
    reserved: provider === 'mock' ? [...reserved, 'mock'] : reserved,
    demo: DEMO_MODEL,
  };
}

/** The files of configured models that are on this machine, by the models' names. */
async function configuredFiles({ models }: ConfigFile, downloads: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const [name, { path }] of Object.entries(models)) {
    const file = isOnHub(path)
      ? await findDownloaded(downloads, specKey(parseModelSpec(path))).catch(() => undefined)
      : path;
    if (file !== undefined) files.set(name, file);
  }
  return files;
}
