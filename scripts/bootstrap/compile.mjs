/** Step two: dist/ from the sources, by the TypeScript compiler, only when a source has changed. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { runProgram, say, StepError } from './steps.mjs';

const SOURCES = ['src', 'workers', 'examples', 'bench', 'test/harness', 'test/chaos'];
const SETTINGS = ['tsconfig.json', 'tsconfig.build.json', 'package.json', 'package-lock.json'];
/** Plain JavaScript that compiled files import; the compiler leaves it out. */
const COPIED = path.join('src', 'install', 'early');
const STAMP = 'dist/.lmserv-stamp';
const BUILD_INFO = 'dist/.tsbuildinfo';

function filesUnder(root, folder) {
  if (!existsSync(path.join(root, folder))) return [];
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(path.relative(root, entry.parentPath), entry.name));
}

const isTypeScript = (file) => file.endsWith('.ts') && !file.endsWith('.d.ts');
const isCopied = (file) => path.dirname(file) === COPIED && file.endsWith('.mjs');
const sources = (root) =>
  SOURCES.flatMap((folder) => filesUnder(root, folder)).filter((f) => isTypeScript(f) || isCopied(f));

/** Changes whenever a source or setting does: names, sizes and times, so that nothing has to be read. */
function fingerprint(root, files) {
  const hash = createHash('sha256').update(process.versions.node);
  for (const file of [...files, ...SETTINGS].sort()) {
    const { size, mtimeMs } = statSync(path.join(root, file));
    hash.update(`${file}\0${size}\0${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** The JavaScript file a source becomes. */
const output = (file) => path.join('dist', isTypeScript(file) ? file.replace(/\.ts$/, '.js') : file);

const readStamp = (root) => {
  const file = path.join(root, STAMP);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
};

/** Whether dist/ was compiled from exactly these sources and is complete. */
export function isCompiled(root) {
  const files = sources(root);
  return readStamp(root) === fingerprint(root, files) && missingOutputs(root, files).length === 0;
}

const missingOutputs = (root, files) => files.filter((file) => !existsSync(path.join(root, output(file))));

/** Removes what deleted or renamed sources left in dist/. */
function prune(root, files) {
  const stems = new Set(files.map((file) => output(file).replace(/\.m?js$/, '')));
  for (const file of SOURCES.flatMap((folder) => filesUnder(root, path.join('dist', folder)))) {
    if (!stems.has(file.replace(/\.(d\.ts|js\.map|d\.ts\.map|m?js)$/, ''))) rmSync(path.join(root, file));
  }
}

function copyPlain(root, files) {
  for (const file of files.filter(isCopied)) {
    mkdirSync(path.join(root, path.dirname(output(file))), { recursive: true });
    copyFileSync(path.join(root, file), path.join(root, output(file)));
  }
}

async function runCompiler(root, signal) {
  const compiler = path.join(root, 'node_modules/typescript/bin/tsc');
  // Types are checked by `npm run typecheck`; a first start does not wait for that.
  const args = [compiler, '-p', 'tsconfig.build.json', '--noEmitOnError', '--noCheck'];
  const { code, output: lines } = await runProgram(process.execPath, args, { cwd: root, signal });
  if (code !== 0)
    throw new StepError(
      `${lines.trim().split('\n').slice(0, 15).join('\n')}\nCompiling failed: the lines above say where.`,
    );
}

/**
 * Compiles in place, so that a server running from this dist/ keeps its files, and marks dist/ only at the end, so
 * that an interrupted run is noticed.
 * @throws StepError with the compiler's first errors
 */
export async function compile(root, signal) {
  const began = performance.now();
  const files = sources(root);
  const mark = fingerprint(root, files);
  // The compiler's own memory skips files it wrote before, so it must go when dist/ may lack some of them.
  if (readStamp(root) === '' || missingOutputs(root, files).length > 0)
    rmSync(path.join(root, BUILD_INFO), { force: true });
  rmSync(path.join(root, STAMP), { force: true });
  await runCompiler(root, signal);
  copyPlain(root, files);
  prune(root, files);
  writeFileSync(path.join(root, STAMP), mark);
  say(`Compiled in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
