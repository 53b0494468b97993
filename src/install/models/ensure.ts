/** Obtains models for `npm run model`, and for LLM_MODEL_PATH if it names a model to fetch. */
import { lstat, mkdir, readdir, readlink, realpath, symlink } from 'node:fs/promises';
import path from 'node:path';
import { DownloadError } from '../download/request.js';
import { chooseFiles, partOf, type HubFile } from './choose.js';
import { fetchFiles, type Fetched, type ModelProgress, type Wanted } from './fetch.js';
import { requireGguf } from './gguf.js';
import { DEFAULT_ENDPOINT, explainStatus, fileUrl, hubHeaders, listFiles, type Hub } from './hub.js';
import { findDownloaded, rememberDownload } from './record.js';
import { ModelError, parseModelSpec, specKey, type ModelSpec } from './spec.js';

export interface ModelOptions {
  /** The folder of models. */
  modelsDir: string;
  /** The hub's address (HF_ENDPOINT). */
  endpoint?: string | undefined;
  /** HF_TOKEN; sent to the endpoint only. */
  token?: string | undefined;
  /** Another name for the file in the models folder, with or without `.gguf`. */
  name?: string | undefined;
  /** The expected checksum in hex, for a single file. */
  sha256?: string | undefined;
  onProgress?: ((progress: ModelProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Wait before the first retry, milliseconds (default: 500). */
  backoffMs?: number | undefined;
}

export interface Model {
  /** The path for llama.cpp: the file, or the first part of a split one. */
  path: string;
  /** The files just fetched or checked; empty if an earlier download was found. */
  files: readonly Fetched[];
}

export interface Linked {
  /** The (first) file in the models folder. */
  path: string;
  /** Whether a link was made; false for a file already in the models folder. */
  linked: boolean;
}

/**
 * Obtains a model and returns its files. An earlier download is found without the network.
 * @throws ModelError and DownloadError with a message for the user; the signal's reason when it aborts
 */
export async function obtainModel(text: string, options: ModelOptions): Promise<Model> {
  const spec = parseModelSpec(text);
  if (spec.kind === 'path') {
    await requireGguf(spec.path).catch(explainMissing(spec.path));
    return { path: path.resolve(spec.path), files: [] };
  }
  const key = specKey(spec) + (options.name === undefined ? '' : ` as ${options.name}`);
  const found = options.sha256 === undefined ? await findDownloaded(options.modelsDir, key) : undefined;
  if (found !== undefined) return { path: found, files: [] };
  await mkdir(options.modelsDir, { recursive: true });
  const files =
    spec.kind === 'hub' ? await fetchFromHub(spec, options) : await fetchFromUrl(spec.url, options);
  await rememberDownload(
    options.modelsDir,
    key,
    files.map(({ name, size }) => ({ name, size })),
  );
  return { path: files[0]?.path ?? '', files };
}

const explainMissing =
  (file: string) =>
  (error: NodeJS.ErrnoException): never => {
    throw error.code === 'ENOENT' ? new ModelError(`There is no file ${file}`) : error;
  };

async function fetchFromHub(spec: ModelSpec & { kind: 'hub' }, options: ModelOptions): Promise<Fetched[]> {
  const { endpoint = DEFAULT_ENDPOINT, token, signal, backoffMs } = options;
  const hub: Hub = { endpoint, token, signal, backoffMs };
  const files = chooseFiles(spec.repo, await listFiles(hub, spec.repo), spec.choice);
  try {
    return await fetchFiles(fromHub(hub, spec.repo, files, options), fetchOptions(options, hubHeaders(hub)));
  } catch (error) {
    const status = error instanceof DownloadError ? error.status : undefined;
    throw (status === undefined ? undefined : explainStatus(spec.repo, status, token)) ?? error;
  }
}

function fromHub(hub: Hub, repo: string, files: readonly HubFile[], options: ModelOptions): Wanted[] {
  const { sha256, name } = options;
  if (sha256 !== undefined && files.length > 1) {
    throw new ModelError(
      '--sha256 is for a single file; the parts of this model are checked against the hub',
    );
  }
  return files.map((file) => ({
    url: fileUrl(hub, repo, file.path),
    name: localName(file.path, name),
    size: file.size,
    sha256: sha256 ?? file.sha256,
  }));
}

/** A file's local name; the parts of a renamed split model keep their numbers, by which llama.cpp finds them. */
function localName(file: string, name: string | undefined): string {
  const own = path.posix.basename(file);
  if (name === undefined) return own;
  const stem = name.replace(/\.gguf$/i, '');
  if (!/^[A-Za-z0-9][\w.-]*$/.test(stem))
    throw new ModelError(`--name ${name}: letters, digits, dots, _ and - only`);
  const number = partOf(own) ? /-\d{5}-of-\d{5}(?=\.gguf$)/i.exec(own)?.[0] : undefined;
  return `${stem}${number ?? ''}.gguf`;
}

const fetchOptions = (options: ModelOptions, headers: Record<string, string>) => ({
  modelsDir: options.modelsDir,
  headers,
  signal: options.signal,
  onProgress: options.onProgress,
  backoffMs: options.backoffMs,
});

async function fetchFromUrl(url: string, options: ModelOptions): Promise<Fetched[]> {
  const file = decodeURIComponent(path.posix.basename(new URL(url).pathname));
  const own = /^[A-Za-z0-9][\w.-]*\.gguf$/i.test(file);
  if (!own && options.name === undefined)
    throw new ModelError('That URL does not end in a plain NAME.gguf: choose a name with --name');
  const name = localName(own ? file : 'model.gguf', options.name);
  return fetchFiles([{ url, name, size: undefined, sha256: options.sha256 }], fetchOptions(options, {}));
}

/**
 * The path of a model given as `hf:org/repo[:quant]`, URL or path, fetched first if necessary.
 * @throws as `obtainModel`
 */
export async function ensureModel(spec: string, options: ModelOptions): Promise<string> {
  return (await obtainModel(spec, options)).path;
}

/** Checks a model file and links it, with the other parts of a split one, into the models folder. @throws ModelError */
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

/** All parts of a split model next to `file`; otherwise only `file`. @throws ModelError if a part is missing */
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

/** Keeps an existing link to the same file. @throws ModelError if anything else has the name */
async function linkOne(file: string, link: string): Promise<void> {
  const there = await lstat(link).catch(() => undefined);
  if (there === undefined) return symlink(file, link);
  if (there.isSymbolicLink() && (await readlink(link)) === file) return;
  throw new ModelError(`${link} exists and is a different file: move it away, or choose another name with --name`);
}

const linkName = (file: string, name: string | undefined): string => {
  const number = /-\d{5}-of-\d{5}\.gguf$/i.exec(file)?.[0] ?? '.gguf';
  return name === undefined ? path.basename(file) : `${name.replace(/\.gguf$/i, '')}${number}`;
};
