/** The files of saved slots. Each is a prompt in clear text. */

import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import PQueue from 'p-queue';
import { z } from 'zod';
import { withLock } from '../install/early/lock.mjs';
import type { Logger } from '../observe/logger.js';
import { commonBlocks, type PrefixKey } from '../pool/prefix.js';

export interface SlotStoreOptions {
  /** Holds nothing but these files; made if it does not exist. */
  readonly folder: string;
  /** Max size of all files, bytes; while one is being written there may be that one more. */
  readonly budget: number;
  /** Time after which a file is erased, milliseconds. */
  readonly lifetimeMs: number;
  /** Whether the key of an owner is still accepted. */
  readonly isCurrent: (owner: string) => boolean;
  readonly logger: Logger;
  /** Unix time, milliseconds. */
  readonly now?: () => number;
}

/** What is known of a file, and kept beside it. */
const noteSchema = z.strictObject({
  /** Identifies the key of the caller whose prompt it is. */
  owner: z.string(),
  /** Identifies the model, template and build that can use it. */
  fits: z.string(),
  /** The beginning of the conversation, reply included. */
  prefix: z.array(z.number()),
  bytes: z.int(),
  crc: z.int(),
  /** Unix time, milliseconds. */
  saved: z.number(),
});

/** The conversation in a slot. */
export type Conversation = Pick<z.infer<typeof noteSchema>, 'owner' | 'fits'> & {
  readonly prefix: PrefixKey;
};

export interface SavedSlot extends Readonly<z.infer<typeof noteSchema>> {
  readonly name: string;
}

/** Time between looks for expired files, milliseconds. */
const EXPIRY_CHECK_MS = 30_000;

/** Ends the name of a file that can be restored; one without it is being written or restored, or was left by a crash. */
const WHOLE = '.slot';
const NOTE = '.json';

/** Other files in the folder are none of its business. */
const OWN = /^([0-9a-f]{32})(\.slot|\.json)?$/;

/**
 * Keeps saved slots in a folder within a budget and for a limited time. Files have random names and can be read by this
 * account only. One process at a time uses the folder: a second one waits for the end of the first.
 */
export class SlotStore {
  readonly #options: SlotStoreOptions;
  /** By name, the oldest first. */
  readonly #saved = new Map<string, SavedSlot>();
  /** Saves wait for each other, so that the budget is exceeded by one file at most. */
  readonly #writes = new PQueue({ concurrency: 1 });
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  /** It has the folder. */
  #open = false;
  #released: Promise<unknown> = Promise.resolve();

  constructor(options: SlotStoreOptions) {
    this.#options = options;
  }

  /**
   * Takes the folder and erases what is of no use in it. If another process has it, that happens later.
   *
   * @throws the system's errors.
   */
  async open(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await chmod(this.folder, 0o700);
    await this.#take();
  }

  /** Whether anything is kept at all. */
  get keeps(): boolean {
    return this.#options.budget > 0;
  }

  /** The folder to which names are relative. */
  get folder(): string {
    return this.#options.folder;
  }

  /**
   * Has a slot written to a file, and keeps it if that succeeds.
   *
   * @param write gets the name of an empty file in the folder.
   * @returns undefined if it is not kept.
   * @throws what `write` throws, the system's errors.
   */
  async save(
    conversation: Conversation,
    write: (name: string) => Promise<unknown>,
  ): Promise<SavedSlot | undefined> {
    return this.#writes.add(() => this.#save(conversation, write));
  }

  /** The file of this owner that fits and has most of this prompt, if at least half of what is in it can be used. */
  find({
    owner,
    fits,
    prefix,
  }: Conversation): { readonly saved: SavedSlot; readonly blocks: number } | undefined {
    let best: { saved: SavedSlot; blocks: number } | undefined;
    for (const saved of this.#saved.values()) {
      if (saved.owner !== owner || saved.fits !== fits || this.#isExpired(saved)) continue;
      const blocks = commonBlocks(saved.prefix, prefix);
      if (blocks * 2 >= saved.prefix.length && blocks >= (best?.blocks ?? 1)) best = { saved, blocks };
    }
    return best;
  }

  /**
   * Has a file read, which is erased whatever comes of it.
   *
   * @returns false if it was not used because it is damaged or was erased in the meantime.
   * @throws what `read` throws.
   */
  async restore({ name, bytes, crc }: SavedSlot, read: (name: string) => Promise<unknown>): Promise<boolean> {
    if (!this.#saved.delete(name)) return false;
    try {
      // From now on it is nothing that the next process could use.
      await rename(this.#path(name, WHOLE), this.#path(name));
      const found = await checksum(this.#path(name));
      if (found.bytes !== bytes || found.crc !== crc) return this.#refuse(name);
      await read(name);
      return true;
    } catch (error) {
      if (isMissing(error)) return this.#refuse(name);
      throw error;
    } finally {
      await this.#erase(name);
    }
  }

  /** Erases the files of keys that are no longer accepted. */
  async eraseRevoked(): Promise<void> {
    await this.#eraseIf(({ owner }) => !this.#options.isCurrent(owner), 'revoked');
  }

  /** Erases all files that fit something that has no use of them. */
  async eraseFitting(fits: string): Promise<void> {
    await this.#eraseIf((saved) => saved.fits === fits, 'useless');
  }

  /** Releases the folder. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#writes.onIdle();
    this.#open = false;
    this.#closing.abort();
    await this.#released;
  }

  /** Resolves when it has the folder, or when it is known that another process has it. */
  async #take(): Promise<void> {
    const { signal } = this.#closing;
    const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    await new Promise<void>((resolve, reject) => {
      const onWait = (holder: unknown) => {
        const lock = join(this.folder, LOCK);
        const text = 'another process has the folder of saved slots, and none is kept until it ends';
        this.#options.logger.warn(
          { event: 'slots_wait', holder },
          `${text}; if there is none, remove ${lock}`,
        );
        resolve();
      };
      this.#released = withLock(join(this.folder, LOCK), { signal, onWait }, async () => {
        await this.#load();
        this.#open = true;
        this.#options.logger.info({ event: 'slots_found', slots: this.#saved.size }, 'saved slots');
        resolve();
        await ended;
      }).catch((error: unknown) => {
        if (!signal.aborted) reject(error);
      });
    });
  }

  async #load(): Promise<void> {
    const files = await readdir(this.folder);
    const names = new Set(files.flatMap((file) => OWN.exec(file)?.[1] ?? []));
    const found: SavedSlot[] = [];
    for (const name of names) {
      const saved = await this.#read(name);
      if (saved) found.push(saved);
      else await this.#erase(name);
    }
    for (const saved of found.sort((a, b) => a.saved - b.saved)) this.#saved.set(saved.name, saved);
    await this.eraseRevoked();
    await this.#trim();
    this.#timer = setInterval(() => void this.#trim(), EXPIRY_CHECK_MS).unref();
  }

  /** What is known of a whole file; undefined if it is of no use. */
  async #read(name: string): Promise<SavedSlot | undefined> {
    try {
      const { size } = await stat(this.#path(name, WHOLE));
      const note = noteSchema.parse(JSON.parse(await readFile(this.#path(name, NOTE), 'utf8')));
      return size === note.bytes ? { name, ...note } : undefined;
    } catch {
      return undefined;
    }
  }

  async #save(
    conversation: Conversation,
    write: (name: string) => Promise<unknown>,
  ): Promise<SavedSlot | undefined> {
    if (!this.#open || !this.#options.isCurrent(conversation.owner)) return undefined;
    const name = randomBytes(16).toString('hex');
    let saved: SavedSlot | undefined;
    try {
      // llama.cpp writes into the file that is there, which keeps its mode.
      await writeFile(this.#path(name), '', { mode: 0o600, flag: 'wx' });
      await write(name);
      saved = await this.#keep(name, conversation);
      return saved;
    } finally {
      if (!saved) await this.#erase(name);
    }
  }

  async #keep(name: string, { owner, fits, prefix }: Conversation): Promise<SavedSlot | undefined> {
    const content = await checksum(this.#path(name));
    if (content.bytes > this.#options.budget) return undefined;
    const note = { owner, fits, prefix: [...prefix], ...content, saved: this.#now() };
    await writeFile(this.#path(name, NOTE), JSON.stringify(note), { mode: 0o600, flag: 'wx' });
    // A crash before this leaves nothing that could be restored.
    await rename(this.#path(name), this.#path(name, WHOLE));
    // Its key may have been revoked while it was written.
    if (!this.#options.isCurrent(owner)) return undefined;
    const saved = { name, ...note };
    this.#saved.set(name, saved);
    await this.#trim();
    return saved;
  }

  /** Erases what has expired, then the oldest until the rest is within the budget. */
  async #trim(): Promise<void> {
    await this.#eraseIf((saved) => this.#isExpired(saved), 'expired');
    let excess = -this.#options.budget;
    for (const { bytes } of this.#saved.values()) excess += bytes;
    await this.#eraseIf(({ bytes }) => {
      const goes = excess > 0;
      if (goes) excess -= bytes;
      return goes;
    }, 'budget');
  }

  async #eraseIf(goes: (saved: SavedSlot) => boolean, reason: string): Promise<void> {
    const gone = [...this.#saved.values()].filter(goes);
    for (const { name } of gone) this.#saved.delete(name);
    for (const { name, bytes } of gone) {
      await this.#erase(name);
      this.#options.logger.debug({ event: 'slot_erased', reason, bytes }, 'a saved slot was erased');
    }
  }

  async #erase(name: string): Promise<void> {
    for (const ending of [WHOLE, '', NOTE])
      await rm(this.#path(name, ending), { force: true }).catch((error: NodeJS.ErrnoException) =>
        this.#options.logger.error(
          { event: 'slot_not_erased', reason: error.code },
          'a saved slot is still there',
        ),
      );
  }

  #refuse(name: string): false {
    this.#options.logger.warn(
      { event: 'slot_damaged', slot: name },
      'a saved slot is damaged and was erased',
    );
    return false;
  }

  /** A time in the future shows that the clock was set. */
  #isExpired({ saved }: SavedSlot): boolean {
    return Math.abs(this.#now() - saved) >= this.#options.lifetimeMs;
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  #path(name: string, ending = ''): string {
    return join(this.folder, name + ending);
  }
}

const LOCK = 'lock';

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** In pieces, so that nothing waits for it. */
async function checksum(path: string): Promise<{ bytes: number; crc: number }> {
  let bytes = 0;
  let crc = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
    bytes += piece.length;
    crc = crc32(piece, crc);
  }
  return { bytes, crc };
}
