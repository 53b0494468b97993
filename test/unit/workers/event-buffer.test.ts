import { PassThrough } from 'node:stream';
import { Arrivals } from '../../../workers/event-buffer.js';

test('all that has come is taken at once, and what comes later when it comes', async () => {
  const source = new PassThrough();
  const arrivals = new Arrivals(source);
  source.write('one ');
  source.write('two');
  expect(await arrivals.take()).toBe('one two');
  const later = arrivals.take();
  source.write('three');
  expect(await later).toBe('three');
});

test('a character cut by a chunk comes whole', async () => {
  const source = new PassThrough();
  const arrivals = new Arrivals(source);
  const bytes = Buffer.from('🦙');
  source.write(bytes.subarray(0, 2));
  source.end(bytes.subarray(2));
  expect(await arrivals.take()).toBe('🦙');
  expect(await arrivals.take()).toBeUndefined();
});

test('what came before the end and before an error is still given', async () => {
  const ended = new PassThrough();
  const first = new Arrivals(ended);
  ended.end('last');
  expect(await first.take()).toBe('last');
  expect(await first.take()).toBeUndefined();

  const broken = new PassThrough();
  const second = new Arrivals(broken);
  broken.write('last');
  broken.destroy(new Error('reset'));
  await new Promise((resolve) => broken.once('close', resolve));
  expect(await second.take()).toBe('last');
  await expect(second.take()).rejects.toThrow('reset');
});

test('a stream that is closed without an end or an error ends it', async () => {
  const source = new PassThrough();
  const arrivals = new Arrivals(source);
  const taken = arrivals.take();
  source.destroy();
  expect(await taken).toBeUndefined();
});

test('while nobody asks little is kept, and the stream is held back until the next call', async () => {
  const source = new PassThrough();
  const arrivals = new Arrivals(source);
  const piece = 'x'.repeat(40 * 1024);
  const held = new Promise((resolve) => source.once('pause', resolve));
  for (let count = 0; count < 8; count += 1) source.write(piece);
  await held;
  expect(source.isPaused()).toBe(true);
  expect(await arrivals.take()).toHaveLength(2 * piece.length);
  expect(source.isPaused()).toBe(true);
  let rest = '';
  while (rest.length < 6 * piece.length) rest += await arrivals.take();
  expect(rest).toBe(piece.repeat(6));
  const end = arrivals.take();
  expect(source.isPaused()).toBe(false);
  source.end();
  expect(await end).toBeUndefined();
});
