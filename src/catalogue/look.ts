/** Looks at model files: which there are, what their headers say, and whether they are whole. */

import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { GgufError, readGguf, readHead, type GgufHeader } from '../install/models/gguf.js';

/** A folder of model files. */
export interface ModelFolder {
  readonly path: string;
  /** Its files, also those of its subfolders, are served; otherwise it only holds a configured model. */
  readonly offered: boolean;
}

/** A GGUF file as it was found. */
export interface SeenFile {
  readonly path: string;
  /** The path inside the folder that is looked at, for people. */
  readonly shown: string;
  readonly offered: boolean;
  /** It lies in a subfolder, or in the folder of a configured model. */
  readonly ownFolder: boolean;
  /** Tells files apart, whatever links lead to them. */
  readonly identity: string;
  /** Changes whenever the file may have changed. */
  readonly revision: string;
  /** Bytes. */
  readonly size: number;
  /** Unless there is a problem. */
  readonly header?: GgufHeader;
  /** Why it cannot be used. */
  readonly problem?: string;
}

/** A file or folder that cannot be used. */
export interface Unusable {
  readonly shown: string;
  readonly reason: string;
}

export interface Look {
  readonly files: readonly SeenFile[];
  readonly unusable: readonly Unusable[];
}

/** Folders inside folders: publisher, repository, and one to spare. */
const MAX_DEPTH = 3;

/** A folder with more entries is not one of models, and looking at it each second would be work. */
const MAX_ENTRIES = 10_000;

/** What was found under a path, and how it looked the last time. */
interface Known {
  /** The one in use; an earlier one while its successor is being written. */
  readonly file: SeenFile;
  readonly lastRevision: string;
}

/**
 * Looks at folders again and again. From the second look on a new or changed file is used only once it stays the same from
 * one look to the next and has all of its tensors.
 */
export class Looker {
  #known = new Map<string, Known>();
  #looked = false;

  /** Never rejects: what cannot be read is unusable. */
  async look(folders: readonly ModelFolder[]): Promise<Look> {
    const walk = new Walk();
    for (const folder of folders) await walk.enter(folder, folder.path, 0);
    const known = new Map<string, Known>();
    for (const entry of walk.entries) known.set(entry.path, await this.#see(entry));
    // A folder that cannot be read, on a network or another disk, may come back.
    for (const folder of walk.unreadable)
      for (const [path, before] of this.#known)
        if (path.startsWith(join(folder, '/'))) known.set(path, before);
    this.#known = known;
    this.#looked = true;
    const files = [...known.values()].map(({ file }) => file);
    return { files, unusable: walk.unusable };
  }

  async #see(entry: Entry): Promise<Known> {
    const { path, shown, stats } = entry;
    const { offered } = entry.folder;
    const identity = `${stats.dev}:${stats.ino}`;
    const revision = `${identity}:${stats.size}:${stats.mtimeMs}`;
    const ownFolder = !offered || entry.depth > 0;
    const place = { path, shown, offered, ownFolder, identity, revision, size: stats.size };
    const before = this.#known.get(path);
    if (before?.lastRevision === revision || !this.#looked) {
      const same = before?.file.revision === revision && before.file.problem !== WRITTEN;
      return { file: same ? before.file : await inspect(place), lastRevision: revision };
    }
    // Another file under the same path: what was loaded from the earlier one is still intact.
    const replaced = before?.file.header && before.file.identity !== identity;
    return { file: replaced ? before.file : { ...place, problem: WRITTEN }, lastRevision: revision };
  }
}

const WRITTEN = 'being written; it is served once it is whole';

async function inspect(place: Omit<SeenFile, 'header' | 'problem'>): Promise<SeenFile> {
  const { path, size } = place;
  try {
    const header = await readGguf((bytes) => readHead(path, bytes), size);
    if (size >= header.tensorsEnd) return { ...place, header };
    return { ...place, problem: `cut, or still being copied: it has ${size} of ${header.tensorsEnd} bytes` };
  } catch (error) {
    if (error instanceof GgufError)
      return { ...place, problem: `damaged or still being copied: it ${error.message}` };
    return { ...place, problem: unreadable(error) };
  }
}

interface Entry {
  readonly folder: ModelFolder;
  readonly path: string;
  readonly shown: string;
  readonly stats: Stats;
  /** 0 in the folder itself. */
  readonly depth: number;
}

/** One walk through the folders; each is entered once, whatever links lead to it. */
class Walk {
  readonly entries: Entry[] = [];
  readonly unusable: Unusable[] = [];
  readonly unreadable: string[] = [];
  readonly #entered = new Set<string>();
  #count = 0;

  async enter(folder: ModelFolder, path: string, depth: number): Promise<void> {
    try {
      const { dev, ino } = await stat(path);
      if (this.#entered.has(`${dev}:${ino}`)) return;
      this.#entered.add(`${dev}:${ino}`);
      const names = await readdir(path);
      this.#count += names.length;
      if (this.#count > MAX_ENTRIES) {
        const reason = `not looked at: there are more than ${MAX_ENTRIES} files; name a smaller folder`;
        this.unusable.push({ shown: path, reason });
        return;
      }
      for (const name of names.sort())
        if (!name.startsWith('.')) await this.#visit(folder, join(path, name), depth);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.unreadable.push(path);
      this.unusable.push({ shown: path, reason: unreadable(error) });
    }
  }

  async #visit(folder: ModelFolder, path: string, depth: number): Promise<void> {
    const shown = relative(folder.path, path);
    const isGguf = /\.gguf$/i.test(path);
    try {
      const stats = await stat(path);
      if (stats.isDirectory() && folder.offered && depth < MAX_DEPTH)
        await this.enter(folder, path, depth + 1);
      else if (isGguf && stats.isFile()) this.entries.push({ folder, path, shown, stats, depth });
      else if (isGguf) this.unusable.push({ shown, reason: 'not a regular file' });
    } catch (error) {
      if (isGguf) this.unusable.push({ shown, reason: unreadable(error) });
      else if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.unreadable.push(path);
    }
  }
}

/** Why the system does not read a file. */
function unreadable(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'a link to a file that is not there';
  if (code === 'ELOOP') return 'a link that leads back to itself';
  return `cannot be read (${code})`;
}

/** The folders of configured models, besides those that are offered. */
export function foldersOf(offered: readonly string[], configured: readonly string[]): ModelFolder[] {
  const others = new Set(configured.map((path) => dirname(path)));
  return [
    ...offered.map((path) => ({ path, offered: true })),
    ...[...others].map((path) => ({ path, offered: false })),
  ];
}
