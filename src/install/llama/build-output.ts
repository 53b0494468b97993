/** Reading what cmake, make and the compilers print. */

export interface BuildStep {
  /** 0 to 100. */
  percent: number;
  /** A short name for the current file or target. */
  step: string;
}

/** Marks the first error; later ones are mostly its consequences. */
const TROUBLE = /(^|[\s:(])(fatal error|error|Error|ERROR|undefined reference|No space left|Killed)\b/;

const LINES_BEFORE = 2;
const LINES = 15;

/** Reads make's `[ 42%] Building CXX object a/b.cpp.o` and ninja's `[12/340] …`; undefined for other lines. */
export function parseStep(line: string): BuildStep | undefined {
  const [, percent, done, total, text] = /^\[(?: *(\d+)%|(\d+)\/(\d+))\] (.*)$/.exec(line) ?? [];
  if (text === undefined) return undefined;
  const share = percent === undefined ? (100 * Number(done)) / Number(total) : Number(percent);
  return { percent: share, step: stepName(text) };
}

/** `Building CXX object src/CMakeFiles/llama.dir/llama-vocab.cpp.o` → `llama-vocab.cpp`. */
function stepName(text: string): string {
  const last = text.trim().split(/[\s/]/).at(-1) ?? '';
  return last.replace(/\.o$/, '');
}

/** The log's lines around the first error, otherwise its last ones. */
export function tellingLines(log: string): string[] {
  const lines = log.split('\n').filter((line) => line.trim() !== '');
  const first = lines.findIndex((line) => TROUBLE.test(line) && parseStep(line) === undefined);
  if (first === -1) return lines.slice(-LINES);
  const from = Math.max(0, first - LINES_BEFORE);
  return lines.slice(from, from + LINES);
}

/** The remedy for a known problem in the log; undefined if there is none. */
export function remedy(log: string): string | undefined {
  if (/No space left on device/.test(log)) {
    return 'The disk is full: free some space, or set LMSERV_CACHE_DIR to another disk.';
  }
  if (/Killed|terminated signal 9|out of memory|cannot allocate memory/i.test(log)) {
    return 'Memory ran out: run `npm run setup -- --jobs 1`.';
  }
  if (/CMake \d+\.\d+ or higher is required/.test(log)) return 'This cmake is too old: install a newer one.';
  if (/unsupported (GNU|clang|Microsoft)/i.test(log)) {
    return 'This CUDA toolkit does not support this C++ compiler: install an older g++ and set CUDAHOSTCXX to it, or `npm run setup -- --gpu cpu`.';
  }
  if (/CUDA::cublas|cublas_v2\.h/.test(log)) {
    return 'The CUDA toolkit lacks cuBLAS: install the whole toolkit (or libcublas-dev), or `npm run setup -- --gpu cpu`.';
  }
  return undefined;
}
