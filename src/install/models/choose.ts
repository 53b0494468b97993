/** Chooses the files of a repository that make up the requested model. */
import path from 'node:path';
import { ModelError } from './spec.js';

/** A file in the hub's listing. */
export interface HubFile {
  path: string;
  /** Bytes. */
  size: number;
  /** Hex; undefined for small files that are not in large-file storage. */
  sha256: string | undefined;
}

/** One model: a file, or all parts of a split one in order. */
interface Candidate {
  /** The file name without part number and extension. */
  stem: string;
  quant: string | undefined;
  files: HubFile[];
}

/** Tried in this order if no quantisation is requested. */
const PREFERRED = ['Q4_K_M', 'Q4_0', 'Q8_0'];

const QUANT = /(?:^|[-._])((?:UD-)?(?:I?Q|TQ)\d[A-Z0-9_]*|BF16|F16|F32|MXFP4[A-Z0-9_]*)(?=$|[-.])/gi;
const PART = /-(\d{5})-of-(\d{5})$/;

/** Companion files, which are fetched only by their names: the image projector, and the data used for quantising. */
const COMPANION = /mmproj|imatrix/i;

/** The quantisation in a file's name, the last if there are several; upper case. */
export function quantOf(file: string): string | undefined {
  const stem = stemOf(file).replace(PART, '');
  return [...stem.matchAll(QUANT)].at(-1)?.[1]?.toUpperCase();
}

const stemOf = (file: string): string => path.posix.basename(file).replace(/\.gguf$/i, '');

/** Part number and count of a split file's name. */
export function partOf(file: string): { index: number; count: number } | undefined {
  const [, index, count] = PART.exec(stemOf(file)) ?? [];
  return index === undefined ? undefined : { index: Number(index), count: Number(count) };
}

/**
 * Picks the files of a model.
 * @param choice a quantisation or a file's name; without it Q4_K_M, Q4_0, Q8_0 or the only one
 * @throws ModelError that lists the choices
 */
export function chooseFiles(repo: string, files: readonly HubFile[], choice: string | undefined): HubFile[] {
  const all = group(files, choice);
  if (all.length === 0)
    throw new ModelError(`${repo} has no GGUF files; look for a repository with GGUF in its name`);
  const found = choice === undefined ? preferred(all) : all.filter((candidate) => matches(candidate, choice));
  const [only, ...others] = found;
  if (only === undefined) throw new ModelError(`${repo} has no ${choice}. It has:\n${listed(repo, all)}`);
  if (others.length > 0)
    throw new ModelError(`Several models of ${repo} match; choose one:\n${listed(repo, found)}`);
  return complete(repo, only);
}

function group(files: readonly HubFile[], choice = ''): Candidate[] {
  const groups = new Map<string, Candidate>();
  for (const file of files) {
    const name = path.posix.basename(file.path);
    if (!/\.gguf$/i.test(name) || (COMPANION.test(name) && normal(name) !== normal(choice))) continue;
    const key = file.path.replace(/\.gguf$/i, '').replace(PART, '');
    const candidate = groups.get(key) ?? {
      stem: path.posix.basename(key),
      quant: quantOf(file.path),
      files: [],
    };
    candidate.files.push(file);
    groups.set(key, candidate);
  }
  return [...groups.values()];
}

function preferred(candidates: Candidate[]): Candidate[] {
  for (const quant of PREFERRED) {
    const found = candidates.filter((candidate) => candidate.quant === quant);
    if (found.length > 0) return found;
  }
  return candidates;
}

function matches(candidate: Candidate, choice: string): boolean {
  return candidate.quant === normal(choice) || normal(candidate.stem) === normal(choice).replace(PART, '');
}

const normal = (text: string): string => text.toUpperCase().replace(/\.GGUF$/, '');

function listed(repo: string, candidates: Candidate[]): string {
  const quants = candidates.map(({ quant }) => quant);
  const distinct = new Set(quants).size === quants.length && !quants.includes(undefined);
  return candidates
    .map(({ stem, quant }) => `  hf:${repo}:${distinct ? quant : `${stem}.gguf`}`)
    .sort()
    .join('\n');
}

/** All parts of a split model, in order. @throws ModelError when the repository lacks one */
function complete(repo: string, { stem, files }: Candidate): HubFile[] {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
  const count = partOf(sorted[0]?.path ?? '')?.count ?? 1;
  if (sorted.length === count) return sorted;
  throw new ModelError(`${repo} has ${sorted.length} of the ${count} parts of ${stem}`);
}
