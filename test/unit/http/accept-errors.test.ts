import { pino } from 'pino';
import { onAcceptError } from '../../../src/http/server.js';

test('connections that cannot be taken are logged, one line a second at most', () => {
  const lines: any[] = [];
  const logger = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
  let now = 0;
  const onError = onAcceptError(logger, () => now);
  const error = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
  for (now of [0, 1, 999]) onError(error);
  expect(lines).toMatchObject([{ event: 'accept_failed', code: 'EMFILE' }]);
  now = 1_000;
  onError(error);
  expect(lines).toHaveLength(2);
});
