import { PassThrough } from 'node:stream';
import { formatBytes, formatSeconds, startProgress } from '../../../src/install/progress.js';

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_500_000, '1.5 MB'],
  [35_735_663, '35.7 MB'],
  [123_456_789_000, '123 GB'],
])('%d bytes are shown as %s', (bytes, shown) => expect(formatBytes(bytes)).toBe(shown));

test.each([
  [4.4, '0:04'],
  [75, '1:15'],
  [3700, '1:01:40'],
])('%d seconds are shown as %s', (seconds, shown) => expect(formatSeconds(seconds)).toBe(shown));

test('progress without a terminal is one line for each tenth', () => {
  const stream = new PassThrough({ encoding: 'utf8' });
  const progress = startProgress('Building', 'percent', stream);
  for (let percent = 0; percent <= 100; percent += 1) progress.update(percent, 100);
  progress.stop();
  const lines = String(stream.read()).trimEnd().split('\n');
  expect(lines.map((line) => /^Building: (\d+) %/.exec(line)?.[1])).toEqual(
    Array.from({ length: 11 }, (_, index) => String(index * 10)),
  );
});
