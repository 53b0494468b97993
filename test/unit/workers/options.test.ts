import { buildArgs, buildEnv, runtimeEnv, type ChildOptions } from '../../../workers/options.js';

const options: ChildOptions = {
  binary: { path: '/x/llama-cli', kind: 'llama-cli' },
  modelPath: '/m.gguf',
  slots: 4,
  ctxSize: 1000,
  cacheRamMb: 0,
  extraArgs: [],
};

const valueOf = (args: string[], name: string) => args[args.indexOf(name) + 1];

test('-c is the sum of the contexts of all slots', () => {
  const args = buildArgs(options, undefined);
  expect(valueOf(args, '-c')).toBe('4000');
  expect(valueOf(args, '-np')).toBe('4');
});

test('a folder for slots is passed on', () => {
  expect(buildArgs(options, undefined)).not.toContain('--slot-save-path');
  const args = buildArgs({ ...options, slotFolder: '/data/slots' }, undefined);
  expect(valueOf(args, '--slot-save-path')).toBe('/data/slots');
});

test('batches are small on a CPU and larger on a GPU', () => {
  expect(valueOf(buildArgs(options, undefined), '-ub')).toBe('128');
  expect(valueOf(buildArgs({ ...options, gpuLayers: 99 }, undefined), '-ub')).toBe('512');
  expect(valueOf(buildArgs({ ...options, gpu: '1' }, undefined), '-b')).toBe('512');
});

test('a model that does not write gets its task, and batches of a whole context', () => {
  const args = (more: Partial<ChildOptions>) => buildArgs({ ...options, splits: false, ...more }, undefined);
  const embed = args({ task: 'embed', pooling: 'mean' });
  expect(embed).toEqual(expect.arrayContaining(['--embeddings', '--kv-unified']));
  expect([valueOf(embed, '-ub'), valueOf(embed, '--pooling')]).toEqual(['1000', 'mean']);
  expect(args({ task: 'rerank' })).toContain('--rerank');
  const inPieces = args({ task: 'embed', splits: true });
  expect(valueOf(inPieces, '-ub')).toBe('128');
  expect(inPieces).not.toContain('--kv-unified');
});

test('a batch has room for a token of each slot', () => {
  const args = buildArgs({ ...options, slots: 200 }, undefined);
  expect([valueOf(args, '-b'), valueOf(args, '-ub')]).toEqual(['200', '200']);
});

test('the arguments log the address and the load, bound the prompt cache and fetch nothing', () => {
  const args = buildArgs(options, undefined);
  expect(valueOf(args, '-lv')).toBe('4');
  expect(valueOf(args, '--cache-ram')).toBe('0');
  expect(args).toContain('--offline');
});

test('unset options are left to llama.cpp, and extra arguments come last', () => {
  const args = buildArgs({ ...options, extraArgs: ['-fa', 'on'] }, undefined);
  expect(args).not.toContain('-t');
  expect(args).not.toContain('-ngl');
  expect(args.slice(-2)).toEqual(['-fa', 'on']);
});

test('a projector comes with batches that have room for a whole image', () => {
  const args = buildArgs({ ...options, mmproj: '/p.gguf' }, undefined);
  expect(valueOf(args, '--mmproj')).toBe('/p.gguf');
  expect([valueOf(args, '-b'), valueOf(args, '-ub')]).toEqual(['2048', '2048']);
  expect(buildArgs(options, undefined)).not.toContain('--mmproj');
});

test.each([['--no-mmproj'], ['-mm', '/mine.gguf']])(
  'the operator’s own %s comes before a projector that was found',
  (...extraArgs) => {
    const args = buildArgs({ ...options, mmproj: '/p.gguf', extraArgs }, undefined);
    expect(args).not.toContain('/p.gguf');
  },
);

test('adapters are passed on, with their scale where they have one', () => {
  const lora = [
    { path: '/a.gguf', scale: 1 },
    { path: '/b.gguf', scale: 0.5 },
    { path: '/c,d.gguf', scale: 2 },
  ];
  const args = buildArgs({ ...options, lora }, undefined);
  expect(args.join(' ')).toContain('--lora /a.gguf --lora-scaled /b.gguf:0.5 --lora-scaled "/c,d.gguf:2"');
});

test('a llama-server gets its socket as an argument and its key in the environment', () => {
  const server = { ...options, binary: { path: '/x/llama-server', kind: 'llama-server' as const } };
  const listen = { socketPath: '/run/s.sock', apiKey: 'SECRET' };
  const args = buildArgs(server, listen);
  expect(valueOf(args, '--host')).toBe('/run/s.sock');
  expect(args.join(' ')).not.toContain('SECRET');
  expect(buildEnv({}, server, listen)).toEqual({ CUDA_DEVICE_ORDER: 'PCI_BUS_ID', LLAMA_API_KEY: 'SECRET' });
});

test('a child inherits only the variables it needs', () => {
  const parent = {
    ...{ PATH: '/bin', HOME: '/h', LD_LIBRARY_PATH: '/l', CUDA_CACHE_PATH: '/c' },
    ...{ API_KEY: 'k', HF_TOKEN: 't', LLAMA_ARG_CTX_SIZE: '7', OPENAI_API_KEY: 'o', NODE_OPTIONS: '-x' },
  };
  expect(buildEnv(parent, { ...options, gpu: '1' }, undefined)).toEqual({
    ...{ PATH: '/bin', HOME: '/h', LD_LIBRARY_PATH: '/l', CUDA_CACHE_PATH: '/c' },
    CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
    ...{ CUDA_VISIBLE_DEVICES: '1', HIP_VISIBLE_DEVICES: '1', GGML_VK_VISIBLE_DEVICES: '1' },
  });
});

test('a program sees the GPUs that are named, and all where none is', () => {
  const parent = { CUDA_VISIBLE_DEVICES: '7', CUDA_DEVICE_ORDER: 'FASTEST_FIRST' };
  expect(runtimeEnv(parent, [])).toEqual(parent);
  expect(runtimeEnv(parent, ['1', '0'])).toEqual({
    CUDA_DEVICE_ORDER: 'FASTEST_FIRST',
    ...{ CUDA_VISIBLE_DEVICES: '1,0', HIP_VISIBLE_DEVICES: '1,0', GGML_VK_VISIBLE_DEVICES: '1,0' },
  });
});
