import { Quarantine } from '../../../src/pool/quarantine.js';

const MINUTE = 60_000;
const asking = (content: string, settings: object = {}) => ({
  messages: [{ role: 'user', content }],
  ...settings,
});

/** Which of these contents are refused. */
const refused = (quarantine: Quarantine, contents: string[], at: number) =>
  contents.filter((content) => quarantine.holds(asking(content), at));

test('content that was alone in two crashes is refused for ten minutes, whatever its sampling settings', () => {
  const quarantine = new Quarantine();
  expect(quarantine.recordCrash([asking('bad')], 0)).toBe(0);
  expect(quarantine.holds(asking('bad'), 0)).toBe(false);
  expect(quarantine.recordCrash([asking('bad', { temperature: 1 })], MINUTE)).toBe(1);
  expect(quarantine.holds(asking('bad', { seed: 7 }), MINUTE)).toBe(true);
  expect(quarantine.holds(asking('good'), MINUTE)).toBe(false);
  expect(quarantine.holds(asking('bad'), 11 * MINUTE - 1)).toBe(true);
  expect(quarantine.holds(asking('bad'), 11 * MINUTE)).toBe(false);
});

test('content is refused when it alone is common to two crashes and was alone in one', () => {
  const quarantine = new Quarantine();
  quarantine.recordCrash([asking('bad'), asking('a'), asking('b')], 0);
  expect(quarantine.recordCrash([asking('bad'), asking('a')], 1)).toBe(0);
  expect(quarantine.recordCrash([asking('bad')], 2)).toBe(1);
  expect(refused(quarantine, ['bad', 'a', 'b'], 2)).toEqual(['bad']);
});

test('a long reply is not blamed for crashes caused by its neighbours', () => {
  const quarantine = new Quarantine();
  quarantine.recordCrash([asking('long'), asking('one')], 0);
  expect(quarantine.recordCrash([asking('long'), asking('two')], 1)).toBe(0);
});

test('no content is refused when each of many contents crashes two workers', () => {
  const quarantine = new Quarantine();
  const contents = ['a', 'b', 'c', 'd'];
  for (const content of contents.flatMap((each) => [each, each]))
    quarantine.recordCrash([asking(content)], 0);
  expect(refused(quarantine, contents, 1)).toEqual([]);
});

test('two crashes far apart are not compared', () => {
  const quarantine = new Quarantine();
  quarantine.recordCrash([asking('unlucky')], 0);
  expect(quarantine.recordCrash([asking('unlucky')], 10 * MINUTE)).toBe(0);
});

test('crashes of idle workers blame no content', () => {
  const quarantine = new Quarantine();
  quarantine.recordCrash([], 0);
  expect(quarantine.recordCrash([], 1)).toBe(0);
});

test('no content is refused when everything crashes', () => {
  const quarantine = new Quarantine();
  const contents = ['a', 'b', 'c'];
  for (const at of [0, 1]) for (const content of contents) quarantine.recordCrash([asking(content)], at);
  expect(refused(quarantine, contents, 1)).toEqual([]);
});

test('a second crashing content is refused after the first', () => {
  const quarantine = new Quarantine();
  for (const content of ['one', 'one', 'two', 'two']) quarantine.recordCrash([asking(content)], 0);
  expect(refused(quarantine, ['one', 'two'], 1)).toEqual(['one', 'two']);
});

test('content with another image is other content', () => {
  const quarantine = new Quarantine();
  const showing = (data: string) => ({
    messages: [
      { role: 'user', content: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${data}` } }] },
    ],
  });
  quarantine.recordCrash([showing('AAAA')], 0);
  expect(quarantine.recordCrash([showing('BBBB')], 1)).toBe(0);
  expect(quarantine.recordCrash([showing('AAAA')], 2)).toBe(1);
  expect(quarantine.holds(showing('AAAA'), 3)).toBe(true);
  expect(quarantine.holds(showing('BBBB'), 3)).toBe(false);
});
