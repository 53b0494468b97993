import { jest } from '@jest/globals';
import { createLogger } from '../../../src/observe/logger.js';
import { LogOutput } from '../../../src/observe/log-output.js';

/** An output that accepts `room` bytes and then fails with a code. */
class Place {
  text = '';
  room = Infinity;
  readonly output: LogOutput;

  constructor(code = 'EAGAIN') {
    this.output = new LogOutput((bytes) => {
      if (this.room === 0) throw Object.assign(new Error(code), { code });
      const taken = bytes.subarray(0, this.room);
      this.room -= taken.length;
      this.text += Buffer.from(taken).toString();
      return taken.length;
    });
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }
}

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

test('a line is written immediately', () => {
  const place = new Place();
  place.output.write('one\n');
  expect(place.text).toBe('one\n');
});

test.each(['EAGAIN', 'ENOSPC', 'EPIPE', 'EIO'])('%s is not thrown, and the rest is written later', (code) => {
  const place = new Place(code);
  place.room = 6;
  for (const line of ['one\n', 'two\n', 'three\n']) place.output.write(line);
  expect(place.text).toBe('one\ntw');
  place.room = Infinity;
  jest.advanceTimersByTime(100);
  expect(place.text).toBe('one\ntwo\nthree\n');
});

test('the next line is written after those that wait', () => {
  const place = new Place();
  place.room = 0;
  place.output.write('one\n');
  place.room = Infinity;
  place.output.write('two\n');
  expect(place.text).toBe('one\ntwo\n');
});

test('lines beyond 1 MiB are dropped, and one line gives their number once there is room', () => {
  const place = new Place('ENOSPC');
  const logger = createLogger({ level: 'info', readable: false }, place.output);
  place.room = 0;
  const filler = 'x'.repeat(1024);
  for (let i = 0; i < 2_000; i += 1) logger.info({ i, filler }, 'y');
  place.room = Infinity;
  jest.advanceTimersByTime(100);
  const lines = place.lines.map((line) => JSON.parse(line));
  const kept = lines.slice(0, -1);
  expect(place.text.length).toBeLessThan(1024 * 1024 + 1024);
  expect(kept.map(({ i }) => i)).toEqual([...kept.keys()]);
  expect(lines.at(-1)).toMatchObject({ event: 'log_dropped', level: 40, lines: 2_000 - kept.length });
  logger.info({ event: 'next' }, 'next');
  expect(JSON.parse(place.lines.at(-1)!)).toMatchObject({ event: 'next' });
});

test('lines that wait are written when the process ends', () => {
  const place = new Place();
  place.room = 0;
  place.output.write('last\n');
  const [flush] = process.listeners('exit').slice(-1);
  place.room = Infinity;
  flush!(0);
  expect(place.text).toBe('last\n');
  expect(process.listeners('exit')).not.toContain(flush);
});

test('readable lines are not JSON', () => {
  const place = new Place();
  createLogger({ level: 'info', readable: true }, place.output).info({ event: 'listening' }, 'hello');
  expect(place.text).toContain('hello');
  expect(place.text).toMatch(/\n$/);
  expect(() => JSON.parse(place.text)).toThrow();
});
