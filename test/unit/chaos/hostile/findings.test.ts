import { failuresOf, reportText, type Findings } from '../../../chaos/hostile/findings.js';
import { FLOODS } from '../../../chaos/hostile/clients.js';

const request = (from: number, served: boolean) => ({
  from,
  to: from + 1,
  served,
  outcome: served ? '200' : '503',
});
const requests = (count: number, refused: number, at = 0) =>
  Array.from({ length: count }, (_, index) => request(at + index * 2, index >= refused));

const found = (fields: Partial<Findings> = {}): Findings => ({
  ...{ seed: 1, seconds: 60, ran: [], modest: requests(20, 2), problems: [], skipped: [] },
  pauses: [{ from: 10, to: 400, waited: 190, ran: 30, starved: 0, net: 200 }],
  memory: { idle: 90, peak: 390 },
  ...fields,
});

test('a run at all its limits passes', () => {
  expect(failuresOf(found())).toEqual([]);
  expect(reportText(found())).toContain('Passed: hostile, seed 1, 60 s.');
});

test('a pause is reported with the actions in progress', () => {
  const ran = [
    { name: 'early', from: 0, to: 10 },
    { name: 'guilty', from: 5, to: 12 },
    { name: 'late', from: 400, to: 500 },
  ];
  const pauses = [{ from: 10, to: 400, waited: 0, ran: 380, starved: 0, net: 390 }];
  expect(failuresOf(found({ ran, pauses }))).toEqual([
    'the event loop paused for 390 ms (390 with noise, 380 of them running) during guilty, more than 200 ms',
  ]);
});

test('memory, a starved key and problems that actions saw fail a run', () => {
  expect(failuresOf(found({ memory: { idle: 90, peak: 391 } }))).toEqual([
    'memory grew by 301 MiB, more than 300 MiB',
  ]);
  expect(failuresOf(found({ modest: requests(20, 3) }))).toEqual(['the modest key starved: 17 of 20 served']);
  expect(failuresOf(found({ problems: ['the server ended'] }))).toEqual(['the server ended']);
});

test('a key that starves only during floods starves', () => {
  const ran = [{ name: FLOODS[0], from: 1_000, to: 1_010 }];
  const modest = [...requests(100, 0), ...requests(5, 3, 1_000)];
  expect(failuresOf(found({ ran, modest }))).toEqual(['the modest key starved during floods: 2 of 5 served']);
});

test('the report names kinds that were not reached and what was skipped', () => {
  const text = reportText(found({ ran: [{ name: 'scrapes', from: 0, to: 1 }], skipped: ['no openssl'] }));
  expect(text).toMatch(/^clients: 1 actions, 1 of \d+ kinds; not reached: /m);
  expect(text).toContain('skipped: no openssl');
});
