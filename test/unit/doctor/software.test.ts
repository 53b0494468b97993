import { join } from 'node:path';
import { ROOT } from '../../../src/config/root.js';
import {
  checkBinary,
  checkConfiguration,
  checkGpu,
  checkGpuLayers,
  checkLlamaConfig,
  checkNode,
  checkSetpriv,
} from '../../../src/doctor/checks/software.js';
import { fail, ok, warn } from '../../../src/doctor/findings.js';
import type { Probe } from '../../../src/doctor/probe.js';
import { BinaryError } from '../../../workers/binary.js';
import { checkedModel, facts, FILE, having, like, testCheck } from './fakes.js';

const CUDA_BUILD = join(ROOT, 'vendor/llama.cpp/build-cuda/bin/llama-cli');
const CPU_BUILD = join(ROOT, 'vendor/llama.cpp/build/bin/llama-cli');
const NVIDIA = { 'nvidia-smi': 'GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)\n' };
const TWO_CUDA =
  'Available devices:\n  CUDA0: NVIDIA H200 (143771 MiB, 143200 MiB free)\n  CUDA1: NVIDIA H200 (143771 MiB, 10 MiB free)\n';

const built = (path: string): Partial<Probe> => ({
  resolveBinary: async () => ({ path, kind: 'llama-cli', version: '1.2.3' }),
});
const broken = (error: BinaryError): Partial<Probe> => ({ resolveBinary: () => Promise.reject(error) });
const model = (changes: Parameters<typeof checkedModel>[0]) => ({ models: [checkedModel(changes)] });

testCheck('Node', (machine) => checkNode(machine, '20.19.0'), [
  ['20.19.0 is ok', { probe: { node: '20.19.0' } }, having('ok', like('20.19.0'))],
  ['22.1.0 is ok', { probe: { node: '22.1.0' } }, having('ok', like('22.1.0'))],
  ['20.18.9 fails', { probe: { node: '20.18.9' } }, having('fail', like('20.18.9'))],
]);

test('Node must have the version in package.json', () => {
  expect(checkNode(facts({ probe: { node: '18.0.0' } })).found).toMatch(/and \d+\.\d+\.\d+ or later/);
});

testCheck('the configuration', checkConfiguration, [
  ['is ok when it loads, with its notes', { settings: { notes: ['a note'] } }, ok('loads; a note')],
  [
    'fails with a remark when the rest cannot be checked',
    { settings: { problems: ['it is broken'], server: undefined } },
    having('fail', like('it is broken'), like('not checked until then')),
  ],
]);

test('the configuration fails with a line for each wrong value', () => {
  const problems = ['PORT: must be a number', 'HOST: no'];
  const findings = checkConfiguration(facts({ settings: { problems } }));
  expect(findings).toMatchObject(problems.map((found) => ({ level: 'fail', found })));
});

testCheck('the binary', checkBinary, [
  [
    'is shown with its kind and version, and as built for CUDA',
    { probe: built(CUDA_BUILD) },
    ok(`llama-cli 1.2.3, built for cuda: ${CUDA_BUILD}`),
  ],
  ['is shown as built for the CPU', { probe: built(CPU_BUILD) }, having('ok', like('built for the CPU'))],
  ['is shown as your own build', {}, having('ok', like('a build of your own: /bin/llama-cli'))],
  ['fails', { probe: broken(new BinaryError('too_old', 'is too old')) }, fail('is too old')],
  ['is not needed without models', { server: { models: [] } }, having('ok', like('no model'))],
]);

test('the binary is shown once however many models name it', async () => {
  const models = ['/a', '/b', '/a'].map((binPath) => checkedModel({ binPath }));
  expect(await checkBinary(facts({ server: { models } }))).toHaveLength(2);
});

const NO_DEVICE = { [CUDA_BUILD]: 'Available devices:\n  (none)\n' };
const SETUP = 'npm run setup -- --gpu cuda';
const missing = broken(new BinaryError('missing', 'none'));

testCheck('the GPU', checkGpu, [
  ['is not needed', {}, ok('none; the CPU computes')],
  [
    'is ok when the binary can use it',
    { programs: { ...NVIDIA, '/bin/llama-cli': TWO_CUDA } },
    ok('CUDA0 NVIDIA H200 (150 GB of 151 GB free), CUDA1 NVIDIA H200 (10.5 MB of 151 GB free)'),
  ],
  [
    "is shown with its driver's temperature and power",
    {
      programs: { '/bin/llama-cli': TWO_CUDA },
      probe: {
        readCards: async () => [{ index: 1, cuda: 1, name: 'NVIDIA H200', temperature: 31.4, power: 74.6 }],
      },
    },
    having('ok', like('CUDA1 NVIDIA H200 (10.5 MB of 151 GB free, 31 °C, 75 W)')),
  ],
  [
    'is asked for among those that LLM_GPUS names',
    {
      probe: {
        exec: async (_file, args, gpus) =>
          args[0] === '--list-devices' && gpus?.[0] === '1' ? TWO_CUDA : '',
      },
      server: model({ gpus: ['1'] }),
    },
    having('ok', like('CUDA0 NVIDIA H200')),
  ],
  [
    'causes a warning when nvidia-smi lists it and the binary is a CPU build',
    { programs: NVIDIA },
    warn('NVIDIA H200, NVIDIA H200, but the binary cannot use it', SETUP),
  ],
  [
    'causes a warning when only its device exists and the binary is a CPU build',
    { paths: { '/dev/nvidia0': FILE } },
    warn('an NVIDIA GPU, but the binary cannot use it', SETUP),
  ],
  [
    'needs LLM_BIN_PATH unset, which would take precedence over a new build',
    { programs: NVIDIA, server: model({ binPath: '/bin/llama-cli' }) },
    having('warn', undefined, like('unset LLM_BIN_PATH')),
  ],
  [
    'causes a warning when the CUDA build does not find it',
    { probe: built(CUDA_BUILD), programs: { ...NO_DEVICE, ...NVIDIA } },
    having('warn', undefined, like('CUDA_VISIBLE_DEVICES')),
  ],
  [
    'causes a warning when the binary is a CUDA build and there is none',
    { probe: built(CUDA_BUILD), programs: NO_DEVICE },
    having('warn', 'none, but the binary is built for one'),
  ],
  [
    'is mentioned as unused when LLM_GPU_LAYERS is 0',
    { programs: { '/bin/llama-cli': TWO_CUDA }, server: model({ gpuLayers: 0 }) },
    having('warn', like('LLM_GPU_LAYERS is 0')),
  ],
  [
    'causes a warning when the settings want one that is missing',
    { server: model({ gpus: ['0'] }) },
    having('warn', like('ask for one')),
  ],
  ['is not needed when the binary is missing, which has its own line', { probe: missing }, ok('none')],
  ['is shown when the binary is missing', { probe: missing, programs: NVIDIA }, having('ok', like('H200'))],
]);

const asking = model({ gpuLayers: 99 });
const answers = (health: object | undefined): Partial<Probe> => ({
  tryListen: async () => 'EADDRINUSE',
  getText: async () => 'LMServ is running.',
  getJson: async (url) => (url.endsWith('/ready') ? health : undefined),
});

testCheck('layers on the GPU', checkGpuLayers, [
  ['are not asked for', { probe: answers({ lackingGpu: ['tiny#0.1'] }) }, ok('none are asked for')],
  ['are not known without a running LMServ', { server: asking }, having('ok', like('while LMServ runs'))],
  ['are where they should be', { server: asking, probe: answers({}) }, ok('on the GPU as asked for')],
  [
    'cause a warning for each worker that computes on the CPU',
    { server: model({ gpus: ['0'] }), probe: answers({ lackingGpu: ['tiny#0.1', 'tiny#1.2'] }) },
    having('warn', 'the CPU computes in place of a GPU in tiny#0.1, tiny#1.2'),
  ],
  [
    'are not known while LMServ is unavailable',
    { server: asking, probe: answers(undefined) },
    having('ok', like('while LMServ runs')),
  ],
]);

testCheck("llama.cpp's own settings", checkLlamaConfig, [
  ['are ok if there are none', {}, having('ok')],
  [
    'cause a warning',
    { paths: { '/etc/llama.cpp/config.ini': FILE } },
    having('warn', undefined, 'move it away'),
  ],
]);

testCheck('setpriv', checkSetpriv, [
  ['is found on PATH', {}, ok('/usr/bin/setpriv')],
  ['is not required', { probe: { findProgram: async () => undefined } }, having('ok', like('guard'))],
]);
