/** What is compiled against prebuilt libraries: the parts of llama.cpp's source that they lack. */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';

/** One run of the compiler. */
export interface Unit {
  /** Its file's name, without the ending. */
  readonly name: string;
  readonly text: string;
  /** Number of source files in it. */
  readonly files: number;
  /** Estimated time to compile, in no particular unit. */
  readonly weight: number;
}

/** A file of the source, by its path in it. */
interface SourceFile {
  readonly file: string;
  readonly bytes: number;
}

/** The small files of one folder compile in a third of the time when several are one unit. */
const BATCHED = 'tools/mtmd/models';
const BATCH = 12;

/** Programs and parts of programs that neither llama-cli nor llama-server has. */
const LEFT_OUT = /^tools\/mtmd\/(mtmd-cli|deprecation-warning)\.cpp$|\/main\.cpp$/;

const FOLDERS = ['tools/mtmd', BATCHED, 'tools/server', 'tools/cli'];

/** What the headers of a unit cost, in bytes of source. */
const HEADERS_WEIGHT = 60_000;

/** SHA-256, the one part in C that is needed. */
const HASH = 'vendor/hash/sha256/sha256.c';

/** Where headers are looked for, besides the folder of generated ones. */
export const INCLUDE_FOLDERS = [
  ...['.', 'include', 'ggml/include', 'common', 'vendor', 'vendor/hash'],
  ...['tools/mtmd', 'tools/server', 'tools/cli'],
];

/** The names of the programs, each with its main file. */
export const PROGRAMS = { 'llama-cli': 'tools/cli/main.cpp', 'llama-server': 'tools/server/main.cpp' };

/** All units, those that take longest first, so that none of them is left alone at the end. */
export async function readUnits(source: string): Promise<Unit[]> {
  const files = (await Promise.all(FOLDERS.map((folder) => cppFiles(source, folder)))).flat();
  const ui = await readFile(path.join(source, 'tools/ui/ui.cpp.in'), 'utf8');
  const more = [
    { name: 'hash', text: `${include('vendor/hash/hash.cpp')}extern "C" {\n${include(HASH)}}\n` },
    { name: 'ui', text: withoutAssets(ui) },
    ...Object.entries(PROGRAMS).map(([name, file]) => ({ name, text: include(file) })),
  ];
  return [...unitsOf(files), ...more.map((unit) => ({ ...unit, files: 1, weight: 1 }))];
}

/** The header that says that llama-server has no web pages. */
export async function readUiHeader(source: string): Promise<string> {
  return withoutAssets(await readFile(path.join(source, 'tools/ui/ui.h.in'), 'utf8'));
}

async function cppFiles(source: string, folder: string): Promise<SourceFile[]> {
  const names = (await readdir(path.join(source, folder))).filter((name) => name.endsWith('.cpp'));
  return Promise.all(
    names.sort().map(async (name) => {
      const file = `${folder}/${name}`;
      return { file, bytes: (await stat(path.join(source, file))).size };
    }),
  );
}

/** Groups files into units. Pure. */
export function unitsOf(files: readonly SourceFile[]): Unit[] {
  const needed = files.filter(({ file }) => !LEFT_OUT.test(file));
  const small = needed.filter(({ file }) => path.dirname(file) === BATCHED);
  const groups = needed.filter((file) => !small.includes(file)).map((file) => [file]);
  for (let from = 0; from < small.length; from += BATCH) groups.push(small.slice(from, from + BATCH));
  return groups.map(unitOf).sort((a, b) => b.weight - a.weight);
}

function unitOf(group: readonly SourceFile[]): Unit {
  return {
    name: group[0]!.file.replace(/\.cpp$/, '').replaceAll('/', '-'),
    text: group.map(({ file }) => include(file)).join(''),
    files: group.length,
    weight: group.reduce((sum, { bytes }) => sum + bytes, HEADERS_WEIGHT),
  };
}

const include = (file: string): string => `#include "${file}"\n`;

/** Fills in a template of llama.cpp's for a build without web pages. */
function withoutAssets(template: string): string {
  return template
    .replace(/^#cmakedefine .*$/gm, '')
    .replaceAll('@N_ASSETS@', '0')
    .replaceAll('@USE_GZIP@', 'false')
    .replace(/@[A-Z_]+@/g, '');
}
