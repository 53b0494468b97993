import { checkBuild } from '../../../src/doctor/checks/build.js';
import { ok, warn } from '../../../src/doctor/findings.js';
import { testCheck } from './fakes.js';

const lacking = async () => ({
  candidates: [{ flavour: 'cpu', reason: 'an NVIDIA GPU, but CUDA needs libcudart.so.13' } as const],
  notes: ['There is an NVIDIA GPU. Install with:', '  apt install cuda-cudart-13-0'],
});

testCheck('the best build', checkBuild, [
  ['is shown with its reason', {}, ok('npm run setup chooses the CPU: no GPU')],
  [
    'is a warning when a GPU lacks something, with what installs it',
    { probe: { chooseBuild: lacking } },
    warn(
      'npm run setup chooses the CPU: an NVIDIA GPU, but CUDA needs libcudart.so.13',
      'There is an NVIDIA GPU. Install with: apt install cuda-cudart-13-0',
    ),
  ],
]);
