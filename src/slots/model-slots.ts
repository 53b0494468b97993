import { createHash } from 'node:crypto';
import { realpathSync, statSync } from 'node:fs';
import type { Caller } from '../contract.js';
import type { Logger } from '../observe/logger.js';
import type { Evaluated, SlotSaver, SlotUse } from '../pool/pool.js';
import { commonBlocks, type PrefixKey } from '../pool/prefix.js';
import { within } from '../time.js';
import { WorkerFailure } from '../../workers/failure.js';
import type { Worker } from '../../workers/worker.js';
import { SlotTable, type HeldSlot } from './slot-table.js';
import type { Conversation, SlotStore } from './store.js';

/** What is the same for all models. */
export interface SavedSlots {
  readonly store: SlotStore;
  /** Identifies the key of a caller; undefined for one without a key, who could be anybody. */
  readonly ownerOf: (caller: Caller) => string | undefined;
}

export interface ModelSlotsOptions extends SavedSlots {
  /** The model's id, for the log. */
  readonly name: string;
  readonly logger: Logger;
  /** Max time for saving the slots of one worker, milliseconds. Default: 5 s. */
  readonly saveMs?: number | undefined;
}

/** Blocks of a conversation, about 500 characters, below which evaluating it again takes hardly longer than reading a file. */
const MIN_BLOCKS = 4;

/** Whoever waits for the memory of a worker waits for that. */
const SAVE_MS = 5_000;

/** Max time for a restore, milliseconds. */
const RESTORE_MS = 5_000;

/** Restores in a row without an effect after which a model's slots are no longer saved. */
const MAX_FRUITLESS = 3;

/** The part of what was expected from a restore that must have been found in the cache. */
const EFFECT = 0.25;

/**
 * Saves what the workers of one model have evaluated before they end, and restores it into others: each conversation for
 * the caller whose it was, when its next turn comes. Which slot a request takes is decided here, so that it is certain
 * whose conversation a slot holds.
 */
export class ModelSlots implements SlotSaver {
  readonly #options: ModelSlotsOptions;
  readonly #workers = new WeakMap<Worker, WorkerSlots>();
  /** Conversations that are being saved. */
  readonly #saving = new Set<{ readonly conversation: Conversation; readonly done: Promise<unknown> }>();
  #fruitless = 0;

  constructor(options: ModelSlotsOptions) {
    this.#options = options;
  }

  spawned(worker: Worker): void {
    this.#workers.set(worker, { files: fileStamps(worker), table: new SlotTable(worker.options.slots) });
  }

  use(worker: Worker, caller: Caller | undefined, prefix: PrefixKey): SlotUse | undefined {
    const slots = this.#workers.get(worker)!;
    const fits = (slots.fits ??= fitOf(worker, slots.files));
    if (fits === '' || this.#givenUp) return undefined;
    const owner = caller && this.#options.ownerOf(caller);
    const conversation = owner === undefined ? undefined : { owner, fits, prefix };
    const saved = conversation && this.#options.store.find(conversation);
    const taken = slots.table.take(prefix, saved?.blocks ?? 0);
    if (!taken) return undefined;
    let restored: number | undefined;
    return {
      id: taken.id,
      restore: async (context) => {
        if (conversation) restored = await this.#restore(worker, taken, conversation, context);
      },
      release: (evaluated) => {
        if (evaluated && restored !== undefined) this.#judge(worker, restored / prefix.length, evaluated);
        const held = evaluated && owner !== undefined ? { owner, prefix: evaluated.prefix } : undefined;
        slots.table.release(taken.id, held);
      },
    };
  }

  async save(worker: Worker): Promise<void> {
    const { table, fits = '' } = this.#workers.get(worker)!;
    if (fits === '' || this.#givenUp) return;
    const { saveMs = SAVE_MS } = this.#options;
    const limit = AbortSignal.timeout(saveMs);
    const saves = table
      .held()
      .filter(({ prefix }) => prefix.length >= MIN_BLOCKS)
      .map((slot) => this.#save(worker, slot, fits, limit));
    // Files that llama.cpp has written are checked without the worker.
    await within(saveMs, Promise.all(saves));
  }

  async #save(
    worker: Worker,
    { id, owner, prefix }: HeldSlot,
    fits: string,
    limit: AbortSignal,
  ): Promise<void> {
    const conversation = { owner, fits, prefix };
    const began = performance.now();
    const done = this.#options.store
      .save(conversation, (name) => act(worker, id, 'save', name, limit))
      .then(
        (saved) => saved && this.#log('slot_saved', worker, { bytes: saved.bytes, ms: since(began) }),
        (error: Error) => this.#warn('slot_not_saved', worker, error.message),
      );
    const saving = { conversation, done };
    this.#saving.add(saving);
    await done.finally(() => this.#saving.delete(saving));
  }

  /** Never rejects. @returns how many blocks were restored; undefined if none were, or the slot had as many. */
  async #restore(
    worker: Worker,
    { id, blocks }: { readonly id: number; readonly blocks: number },
    conversation: Conversation,
    { signal, requestId }: Parameters<SlotUse['restore']>[0],
  ): Promise<number | undefined> {
    await within(RESTORE_MS, this.#saved(conversation));
    const found = this.#options.store.find(conversation);
    if (!found || found.blocks < MIN_BLOCKS || found.blocks <= blocks) return undefined;
    const began = performance.now();
    const limit = AbortSignal.any([signal, AbortSignal.timeout(RESTORE_MS)]);
    try {
      const read = (name: string) => act(worker, id, 'restore', name, limit);
      if (!(await this.#options.store.restore(found.saved, read))) return undefined;
    } catch (error) {
      // One that dies says nothing about the use of a restore.
      if (!signal.aborted && !(error instanceof WorkerFailure))
        this.#countFruitless(worker, (error as Error).message);
      return undefined;
    }
    this.#log('slot_restored', worker, { requestId, bytes: found.saved.bytes, ms: since(began) });
    return found.blocks;
  }

  /** Resolves once no part of this conversation is being saved. */
  async #saved({ owner, fits, prefix }: Conversation): Promise<void> {
    for (const { conversation, done } of this.#saving) {
      const isSame = conversation.owner === owner && conversation.fits === fits;
      if (isSame && commonBlocks(conversation.prefix, prefix) > 0) await done;
    }
  }

  /** Compares what was restored with what llama.cpp says it found. @param expected part of the prompt */
  #judge(worker: Worker, expected: number, { cached }: Evaluated): void {
    if (cached === undefined || this.#givenUp) return;
    if (cached >= expected * EFFECT) this.#fruitless = 0;
    else this.#countFruitless(worker, `${Math.round(cached * 100)} % of the prompt were found`);
  }

  #countFruitless(worker: Worker, reason: string): void {
    if (this.#givenUp) return;
    this.#warn('slot_without_effect', worker, reason);
    this.#fruitless += 1;
    if (!this.#givenUp) return;
    const { name: model, logger, store } = this.#options;
    logger.warn(
      { event: 'slots_given_up', model },
      'slots of this model are no longer saved: it has no use of them',
    );
    void store.eraseFitting(this.#workers.get(worker)!.fits!);
  }

  get #givenUp(): boolean {
    return this.#fruitless >= MAX_FRUITLESS;
  }

  #log(event: string, worker: Worker, facts: object): void {
    this.#options.logger.debug({ event, worker: worker.id, ...facts }, event.replaceAll('_', ' '));
  }

  #warn(event: string, worker: Worker, reason: string): void {
    this.#options.logger.warn({ event, worker: worker.id, reason }, event.replaceAll('_', ' '));
  }
}

/** What is known of the slots of a worker. */
interface WorkerSlots {
  readonly table: SlotTable;
  /** Its files when it was started. */
  readonly files: string;
  /** What its slots can be restored into, once it is ready; empty if that is not certain. */
  fits?: string;
}

/** Has llama.cpp save or restore a slot. @throws as `Worker.fetch`. */
async function act(
  worker: Worker,
  id: number,
  action: 'save' | 'restore',
  filename: string,
  limit: AbortSignal,
): Promise<void> {
  await worker.fetch('POST', `/slots/${id}?action=${action}`, { filename }, limit);
}

/** Identifies the model, its template and the build of llama.cpp: the state of a slot means something to the same only. */
function fitOf(worker: Worker, files: string): string {
  const { props, options } = worker;
  // Its files were replaced while it loaded them, or its slots are not those that were asked for.
  if (fileStamps(worker) !== files || props?.total_slots !== options.slots) return '';
  const { ctxSize, gpuLayers, extraArgs, lora } = options;
  const { chat_template, build_info } = props;
  const all = { files, chat_template, build_info, ctxSize, gpuLayers, extraArgs, lora };
  return createHash('sha256').update(JSON.stringify(all)).digest('hex');
}

/** The state of all files that a worker may load: the program, the model, what belongs to it, and files among its arguments. */
function fileStamps({ options }: Worker): string {
  const { binary, modelPath, mmproj, lora = [], extraArgs } = options;
  const paths = [binary.path, ...partsOf(modelPath), mmproj ?? [], lora.map(({ path }) => path), extraArgs];
  return JSON.stringify(paths.flat().flatMap(fileStamp));
}

/** A split model is given by its first part. */
function partsOf(path: string): string[] {
  const [, start, count] = /^(.*-)00001-of-(\d{5})\.gguf$/.exec(path) ?? [];
  if (start === undefined) return [path];
  const part = (index: number) => `${start}${String(index).padStart(5, '0')}-of-${count}.gguf`;
  return Array.from({ length: Number(count) }, (_, index) => part(index + 1));
}

function fileStamp(path: string): string[] {
  try {
    const { dev, ino, size, mtimeMs } = statSync(path);
    return [`${realpathSync(path)} ${dev}:${ino}:${size}:${mtimeMs}`];
  } catch {
    return [];
  }
}

const since = (began: number): number => Math.round(performance.now() - began);
