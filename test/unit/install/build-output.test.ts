import { parseStep, remedy, tellingLines } from '../../../src/install/llama/build-output.js';

test.each([
  ['[ 12%] Building CXX object src/CMakeFiles/llama.dir/llama-vocab.cpp.o', 12, 'llama-vocab.cpp'],
  ['[100%] Built target llama-cli', 100, 'llama-cli'],
  ['[5/20] Linking CXX executable bin/llama-server', 25, 'llama-server'],
])('%s is progress', (line, percent, step) => expect(parseStep(line)).toEqual({ percent, step }));

test.each(['-- Configuring done', '[note] 12%', 'src/a.cpp:1:2: error: no'])('%s is not progress', (line) => {
  expect(parseStep(line)).toBeUndefined();
});

test('the first error of a failed build is shown, with a line before it', () => {
  const steps = (from: number, to: number) =>
    Array.from(
      { length: to - from },
      (_, i) => `[ ${from + i}%] Building CXX object a/error-${from + i}.cpp.o`,
    );
  const error = ['a.cpp: In function main', 'a.cpp:3:1: error: expected ;', 'compilation terminated.'];
  const shown = tellingLines([...steps(0, 40), ...error, ...steps(40, 60)].join('\n'));
  expect(shown).toHaveLength(15);
  expect(shown.slice(1, 4)).toEqual(error);
});

test('the last lines are shown when there is no known error', () => {
  const lines = Array.from({ length: 30 }, (_, index) => `line ${index}`);
  expect(tellingLines(lines.join('\n'))).toEqual(lines.slice(-15));
});

test.each([
  ['c++: fatal error: Killed signal terminated program cc1plus', '--jobs 1'],
  ['Target "ggml-cuda" links to: CUDA::cublas but the target was not found', 'cuBLAS'],
  ['error: No space left on device', 'LMSERV_CACHE_DIR'],
  ['CMake 3.28 or higher is required. You are running version 3.10', 'newer one'],
])('%s has a remedy', (log, advice) => expect(remedy(log)).toContain(advice));

test('an unknown problem has no remedy', () => {
  expect(remedy('-- CUDA host compiler is GNU 12.2.0\na.cpp:3:1: error: expected ;')).toBeUndefined();
});
