/** A model file from elsewhere on this machine, linked into the models folder. */
import { lstat, mkdir, readdir, readlink, realpath, symlink } from 'node:fs/promises';
import path from 'node:path';
import { partOf } from './choose.js';
import { ModelError } from './errors.js';
import { requireGguf } from './gguf.js';

/** All parts of a split model beside the given one; else just it. @throws ModelError when a part is missing */
async function partsOf(file: string): Promise<string[]> {
  const part = partOf(file);
  if (part === undefined) return [file];
  const stem = path.basename(file).replace(/-\d{5}-of-\d{5}\.gguf$/i, '');
  const folder = path.dirname(file);
  const parts = (await readdir(folder)).filter(
    (name) => name.startsWith(`${stem}-`) && partOf(name)?.count === part.count,
  );
  if (parts.length === part.count) return parts.sort().map((name) => path.join(folder, name));
  throw new ModelError(`${folder} has ${parts.length} of the ${part.count} parts of ${stem}`);
}

/** A link that is there already and leads to the same file is left. @throws ModelError for anything else there */
async function linkOne(file: string, link: string): Promise<void> {
  const there = await lstat(link).catch(() => undefined);
  if (there === undefined) return symlink(file, link);
  if (there.isSymbolicLink() && (await readlink(link)) === file) return;
  throw new ModelError(`${link} exists and is another file: move it away, or use --name`);
}

const linkName = (file: string, name: string | undefined): string => {
  const number = /-\d{5}-of-\d{5}\.gguf$/i.exec(file)?.[0] ?? '.gguf';
  return name === undefined ? path.basename(file) : `${name.replace(/\.gguf$/i, '')}${number}`;
};

export interface Linked {
  /** The (first) file in the models folder. */
  path: string;
  /** Whether a link was made; false for a file that is in the models folder itself. */
  linked: boolean;
}

/** Checks a model file and links it, and the other parts of a split one, into the models folder. @throws ModelError */
export async function linkModel(file: string, modelsDir: string, name: string | undefined): Promise<Linked> {
  await mkdir(modelsDir, { recursive: true });
  const real = await realpath(file).catch(() => {
    throw new ModelError(`There is no file ${file}`);
  });
  const parts = await partsOf(real);
  for (const part of parts) await requireGguf(part);
  if (path.dirname(real) === (await realpath(modelsDir))) return { path: real, linked: false };
  for (const part of parts) await linkOne(part, path.join(modelsDir, linkName(part, name)));
  return { path: path.join(modelsDir, linkName(parts[0] ?? real, name)), linked: true };
}
