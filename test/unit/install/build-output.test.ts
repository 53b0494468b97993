import { parseStep, remedy, tellingLines } from '../../../src/install/llama/build-output.js';

test.each([
  ['[ 12%] Building CXX object src/CMakeFiles/llama.dir/llama-vocab.cpp.o', 12, 'llama-vocab.cpp'],
  ['[100%] Built target llama-cli', 100, 'llama-cli'],
  ['[5/20] Linking CXX executable bin/llama-server', 25, 'llama-server'],
])('%s', (line, percent, step) => {
  expect(parseStep(line)).toEqual({ percent, step });
});

test.each(['-- Configuring done', '[note] 12%', 'src/a.cpp:1:2: error: no'])('%s is no step', (line) => {
  expect(parseStep(line)).toBeUndefined();
});

test('of a failed build the first error is told, with a little before it', () => {
  const lines = Array.from(
    { length: 60 },
    (_, index) => `[ ${index}%] Building CXX object a/error-${index}.cpp.o`,
  );
  lines.splice(40, 0, 'a.cpp: In function main', 'a.cpp:3:1: error: expected ;', 'compilation terminated.');
  const told = tellingLines(lines.join('\n'));
  expect(told).toHaveLength(15);
  expect(told.slice(1, 4)).toEqual([
    'a.cpp: In function main',
    'a.cpp:3:1: error: expected ;',
    'compilation terminated.',
  ]);
});

test('without a known error the last lines are told', () => {
  const lines = Array.from({ length: 30 }, (_, index) => `line ${index}`);
  expect(tellingLines(lines.join('\n'))).toEqual(lines.slice(-15));
});

test.each([
  ['c++: fatal error: Killed signal terminated program cc1plus', '--jobs 1'],
  ['Target "ggml-cuda" links to: CUDA::cublas but the target was not found', 'cuBLAS'],
  ['error: No space left on device', 'LMSERV_CACHE_DIR'],
  ['CMake 3.28 or higher is required. You are running version 3.10', 'newer one'],
])('%s has a remedy', (log, advice) => {
  expect(remedy(log)).toContain(advice);
});

test('an unknown trouble has no made-up remedy', () => {
  expect(remedy('-- CUDA host compiler is GNU 12.2.0\na.cpp:3:1: error: expected ;')).toBeUndefined();
});
