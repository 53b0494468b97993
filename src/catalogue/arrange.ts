/** Makes models of the files that were seen: parts are joined, and projectors put beside their models. Pure. */

import { basename, dirname } from 'node:path';
import { partOf, quantOf } from '../install/models/choose.js';
import { fileFacts, type FileFacts } from './facts.js';
import { isProjector, unfitness } from './kind.js';
import type { Look, SeenFile, Unusable } from './look.js';

/** A file, or several parts, that can be served as a model. */
export interface FoundModel {
  /** The name of the file without `.gguf` and the number of the part. */
  readonly stem: string;
  /** Of the first part. */
  readonly path: string;
  readonly shown: string;
  readonly offered: boolean;
  /** Of the first part. */
  readonly identity: string;
  /** Changes with any of its files. */
  readonly revision: string;
  /** Of all parts and the projector, bytes. */
  readonly size: number;
  readonly facts: FileFacts;
  /** Path of the projector that gives it images. */
  readonly mmproj?: string;
}

export interface Arranged {
  readonly models: readonly FoundModel[];
  readonly unusable: readonly Unusable[];
}

export function arrange({ files, unusable }: Look): Arranged {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reasons = [...unusable];
  const models: FoundModel[] = [];
  const refuse = ({ offered, shown }: SeenFile, reason: string) =>
    void (offered && reasons.push({ shown, reason }));
  const projectors = new Map(
    files.filter((file) => file.header && isProjector(file.header)).map((file) => [file, false]),
  );
  const firsts = files.filter((file) => !projectors.has(file) && isFirst(file, byPath, refuse));
  for (const file of firsts) {
    const parts = partsOf(file, byPath);
    const problem = problemOf(file, parts);
    if (problem !== undefined) refuse(file, problem);
    else models.push(toModel(file, parts as SeenFile[]));
  }
  const paired = models.map((model, _, all) => withProjector(model, all, projectors));
  for (const [file, used] of projectors)
    refuse(
      file,
      used
        ? 'the image projector of a model beside it'
        : 'an image projector, and no model beside it has its name',
    );
  return { models: paired, unusable: reasons };
}

type Refuse = (file: SeenFile, reason: string) => void;

/** Whether a file is whole in itself or the first part of several; says why another part is none. */
function isFirst(file: SeenFile, byPath: ReadonlyMap<string, SeenFile>, refuse: Refuse): boolean {
  const part = partOf(file.path);
  if (part === undefined || part.index === 1) return true;
  const first = byPath.get(partPath(file.path, 1));
  refuse(
    file,
    first
      ? `part ${part.index} of ${first.shown}`
      : `part ${part.index} of a model whose first part is missing`,
  );
  return false;
}

function partPath(path: string, index: number): string {
  return path.replace(/-\d{5}(?=-of-\d{5}\.gguf$)/i, `-${String(index).padStart(5, '0')}`);
}

/** A split model of more parts than this is a mistake. */
const MAX_PARTS = 1_000;

/** All parts of a model, undefined where one is missing. */
function partsOf(file: SeenFile, byPath: ReadonlyMap<string, SeenFile>): (SeenFile | undefined)[] {
  const count = Math.min(partOf(file.path)?.count ?? 1, MAX_PARTS);
  if (count === 1) return [file];
  return Array.from({ length: count }, (_, index) => byPath.get(partPath(file.path, index + 1)));
}

/** Why a model cannot be served. */
function problemOf(file: SeenFile, parts: readonly (SeenFile | undefined)[]): string | undefined {
  const missing = parts.flatMap((part, index) => (part ? [] : index + 1));
  if (missing.length > 0) return `incomplete: part ${missing.join(', ')} of ${parts.length} is missing`;
  const bad = parts.find((part) => part?.problem !== undefined);
  if (bad) return bad === file ? bad.problem : `incomplete: ${bad.shown} is ${bad.problem}`;
  return unfitness(file.header!, parts.length > 1);
}

function toModel(file: SeenFile, parts: readonly SeenFile[]): FoundModel {
  const { path, shown, offered, identity } = file;
  return {
    ...{ path, shown, offered, identity },
    stem: stemOf(path),
    revision: parts.map(({ revision }) => revision).join(),
    size: parts.reduce((sum, part) => sum + part.size, 0),
    facts: fileFacts(file.header!, parts.length > 1),
  };
}

function stemOf(path: string): string {
  return basename(path)
    .replace(/\.gguf$/i, '')
    .replace(/-\d{5}-of-\d{5}$/, '');
}

/** Adds the projector that belongs to a model, and marks it as used. */
function withProjector(
  model: FoundModel,
  models: readonly FoundModel[],
  projectors: Map<SeenFile, boolean>,
): FoundModel {
  const folder = dirname(model.path);
  const here = [...projectors.keys()].filter((file) => dirname(file.path) === folder);
  const own = baseOf(model.stem);
  const named = here.filter((file) => baseOf(stemOf(file.path)) === own);
  const bases = new Set(
    models.filter(({ path }) => dirname(path) === folder).map(({ stem }) => baseOf(stem)),
  );
  const candidates =
    named.length > 0 ? named : bases.size === 1 ? here.filter(({ ownFolder }) => ownFolder) : [];
  const projector = [...candidates].sort((a, b) => rankOf(a) - rankOf(b))[0];
  if (!projector) return model;
  projectors.set(projector, true);
  for (const file of candidates) projectors.set(file, true);
  return {
    ...model,
    mmproj: projector.path,
    revision: `${model.revision},${projector.revision}`,
    size: model.size + projector.size,
  };
}

/** A name without its quantisation and the words that mark a projector: the same for a model and its projector. */
function baseOf(stem: string): string {
  const quant = quantOf(stem);
  return stem
    .toUpperCase()
    .replace(quant ?? '', '')
    .replace(/MMPROJ|(?<=MMPROJ[-._])MODEL/g, '')
    .replace(/[-._]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** Where a projector comes in several precisions, the one that loses nothing and is not larger than it need be. */
const PREFERRED = ['F16', 'BF16', 'Q8_0', 'F32'];

function rankOf({ path }: SeenFile): number {
  const rank = PREFERRED.indexOf(quantOf(path) ?? '');
  return rank < 0 ? PREFERRED.length : rank;
}
