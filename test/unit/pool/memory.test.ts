import { memoryOf } from '../../../src/pool/memory.js';

const host = (more = {}) => ({ device: 'host', model: 0, mapped: 0, context: 0, compute: 0, ...more });

test('the workers of a model share what is mapped from its file, and nothing else', () => {
  const cpu = { memory: [host({ model: 110, mapped: 100, context: 20, compute: 3 })] };
  expect(memoryOf([cpu, cpu], 2, []).reported).toEqual({ host: 166 });
});

test('each device is counted on its own', () => {
  const on = (device: string) => ({
    memory: [host({ model: 5, mapped: 5 }), { ...host({ model: 50, context: 7 }), device }],
  });
  expect(memoryOf([on('CUDA0'), on('CUDA1')], 2, []).reported).toEqual({ host: 5, CUDA0: 57, CUDA1: 57 });
});

test('nothing is reported before every worker has said what it takes', () => {
  const cpu = { memory: [host({ model: 1 })] };
  expect(memoryOf([cpu], 2, []).reported).toBeUndefined();
  expect(memoryOf([cpu, { memory: [] }], 2, []).reported).toBeUndefined();
});

test('a process holds what is its own, and the mapped weights', () => {
  const { resident, anonymous } = memoryOf([{ memory: [host({ model: 9, mapped: 7 })] }], 1, [process.pid]);
  expect(anonymous).toBeGreaterThan(2 ** 20);
  expect(resident).toEqual({ host: anonymous + 7 });
});
