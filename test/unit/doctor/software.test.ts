import { BinaryError } from '../../../workers/binary.js';
import { join } from 'node:path';
import {
  checkBinary,
  checkConfiguration,
  checkGpu,
  checkLlamaConfig,
  checkNode,
  checkSetpriv,
} from '../../../src/doctor/checks/software.js';
import type { Probe } from '../../../src/doctor/probe.js';
import { ROOT } from '../../../src/config/root.js';
import { checkedModel, facts, FILE, only, type Machine } from './fakes.js';

const CUDA_BUILD = join(ROOT, 'vendor/llama.cpp/build-cuda/bin/llama-cli');
const CPU_BUILD = join(ROOT, 'vendor/llama.cpp/build/bin/llama-cli');
const NVIDIA = { 'nvidia-smi': 'GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)\n' };
const TWO_CUDA =
  'Available devices:\n  CUDA0: NVIDIA H200 (143771 MiB, 143200 MiB free)\n  CUDA1: NVIDIA H200 (143771 MiB, 10 MiB free)\n';

const built = (path: string): Partial<Probe> => ({
  resolveBinary: async () => ({ path, kind: 'llama-cli', version: '1.2.3' }),
});

describe('Node', () => {
  it.each([
    ['20.19.0', 'ok'],
    ['22.1.0', 'ok'],
    ['20.18.9', 'fail'],
  ])('%s is %s', (node, level) => {
    const finding = checkNode(facts({ probe: { node } }), '20.19.0');
    expect(finding).toMatchObject({ level, found: expect.stringContaining(node) });
  });

  it('takes the version it needs from package.json', () => {
    expect(checkNode(facts({ probe: { node: '18.0.0' } })).found).toMatch(/and \d+\.\d+\.\d+ or later/);
  });
});

describe('the configuration', () => {
  it('is ok when it loads, and shows its notes', async () => {
    const finding = await only(checkConfiguration(facts({ settings: { notes: ['a note'] } })));
    expect(finding).toEqual({ level: 'ok', found: 'loads; a note' });
  });

  it('shows each wrong value in a line of its own', () => {
    const findings = checkConfiguration(
      facts({ settings: { problems: ['PORT: must be a number', 'HOST: no'] } }),
    );
    expect(findings.map(({ level, found }) => [level, found])).toEqual([
      ['fail', 'PORT: must be a number'],
      ['fail', 'HOST: no'],
    ]);
  });

  it('says so when the rest cannot be checked', async () => {
    const settings = { problems: ['it is broken'], server: undefined };
    expect((await only(checkConfiguration(facts({ settings })))).todo).toContain('not checked until then');
  });
});

describe('the binary', () => {
  it('is shown with kind, version and what it was built for', async () => {
    const finding = await only(checkBinary(facts({ probe: built(CUDA_BUILD) })));
    expect(finding).toEqual({ level: 'ok', found: `llama-cli 1.2.3, built for cuda: ${CUDA_BUILD}` });
    expect((await only(checkBinary(facts({ probe: built(CPU_BUILD) })))).found).toContain(
      'built for the CPU',
    );
    expect((await only(checkBinary(facts()))).found).toContain('a build of your own: /bin/llama-cli');
  });

  it('fails with the line of the BinaryError', async () => {
    const error = new BinaryError('too_old', 'is too old');
    const finding = await only(checkBinary(facts({ probe: { resolveBinary: () => Promise.reject(error) } })));
    expect(finding).toEqual({ level: 'fail', found: 'is too old' });
  });

  it('is shown once for each that models name, and not at all without models', async () => {
    const models = [
      checkedModel({ binPath: '/a' }),
      checkedModel({ binPath: '/b' }),
      checkedModel({ binPath: '/a' }),
    ];
    const findings = await checkBinary(facts({ server: { models } }));
    expect(findings).toHaveLength(2);
    expect((await only(checkBinary(facts({ server: { models: [] } })))).found).toContain('no model');
  });
});

describe('the GPU', () => {
  const finding = (machine: Machine) => only(checkGpu(facts(machine)));

  it('is ok without one', async () => {
    expect(await finding({})).toEqual({ level: 'ok', found: 'none; the CPU computes' });
  });

  it('is ok when the binary can use it', async () => {
    const found = 'CUDA0 NVIDIA H200, CUDA1 NVIDIA H200';
    const machine = { programs: { ...NVIDIA, '/bin/llama-cli': TWO_CUDA } };
    expect(await finding(machine)).toEqual({ level: 'ok', found });
  });

  it.each([
    ['nvidia-smi lists it', { programs: NVIDIA }, 'NVIDIA H200, NVIDIA H200'],
    ['only its device is there', { paths: { '/dev/nvidia0': FILE } }, 'an NVIDIA GPU'],
  ])('warns when %s and the binary is a CPU build', async (_how, machine, name) => {
    const { level, found, todo } = await finding(machine);
    expect([level, todo]).toEqual(['warn', 'npm run setup -- --gpu cuda']);
    expect(found).toBe(`${name}, but the binary cannot use it`);
  });

  it('has LLM_BIN_PATH unset, which would go before the new build', async () => {
    const models = [checkedModel({ binPath: '/bin/llama-cli' })];
    expect((await finding({ programs: NVIDIA, server: { models } })).todo).toContain('unset LLM_BIN_PATH');
  });

  it('warns when the CUDA build does not find it, and when there is none', async () => {
    const probe = built(CUDA_BUILD);
    const programs = { [CUDA_BUILD]: 'Available devices:\n  (none)\n' };
    expect((await finding({ probe, programs: { ...programs, ...NVIDIA } })).todo).toContain(
      'CUDA_VISIBLE_DEVICES',
    );
    expect(await finding({ probe, programs })).toMatchObject({
      level: 'warn',
      found: 'none, but the binary is built for one',
    });
  });

  it('warns when the settings use none of it, or ask for one that is not there', async () => {
    const off = {
      programs: { '/bin/llama-cli': TWO_CUDA },
      server: { models: [checkedModel({ gpuLayers: 0 })] },
    };
    expect((await finding(off)).found).toContain('LLM_GPU_LAYERS is 0');
    const wanted = { server: { models: [checkedModel({ gpus: ['0'] })] } };
    expect(await finding(wanted)).toMatchObject({
      level: 'warn',
      found: expect.stringContaining('ask for one'),
    });
  });

  it('leaves a binary that is missing to its own line', async () => {
    const resolveBinary = () => Promise.reject(new BinaryError('missing', 'none'));
    expect(await finding({ probe: { resolveBinary } })).toEqual({ level: 'ok', found: 'none' });
    expect((await finding({ probe: { resolveBinary }, programs: NVIDIA })).found).toContain('H200');
  });
});

describe("llama.cpp's own settings", () => {
  it('are warned of when they are there', async () => {
    expect((await checkLlamaConfig(facts())).level).toBe('ok');
    const paths = { '/etc/llama.cpp/config.ini': FILE };
    expect(await checkLlamaConfig(facts({ paths }))).toMatchObject({ level: 'warn', todo: 'move it away' });
  });
});

describe('setpriv', () => {
  it('is ok when it is on PATH', async () => {
    expect(await checkSetpriv(facts())).toEqual({ level: 'ok', found: '/usr/bin/setpriv' });
  });

  it('is not needed where it is missing', async () => {
    const finding = await checkSetpriv(facts({ probe: { findProgram: async () => undefined } }));
    expect(finding).toEqual({ level: 'ok', found: expect.stringContaining('guard') });
  });
});
