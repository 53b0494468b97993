import { ProgressWatch, type Activity } from '../../../workers/progress.js';

const watch = () => new ProgressWatch({ prefill: 60, decode: 15 });

/** Its stream notes an event. */
const note = (activity: Activity, phase: Activity['phase'], progressAt: number) =>
  Object.assign(activity, { phase, progressAt });

test('nothing is due while nothing is requested', () => {
  expect(watch().dueIn(0)).toBeUndefined();
});

test('before the first token the longer limit holds, and prefill progress counts', () => {
  const subject = watch();
  const activity = subject.begin(0);
  expect(subject.dueIn(10)).toBe(50);
  note(activity, 'prefill', 41);
  expect(subject.dueIn(41)).toBe(60);
});

test('after it the shorter one holds', () => {
  const subject = watch();
  note(subject.begin(0), 'decode', 5);
  expect(subject.dueIn(20)).toBe(0);
});

test('progress of any slot is progress of all', () => {
  const subject = watch();
  const slow = subject.begin(0);
  const busy = subject.begin(0);
  note(slow, 'decode', 0);
  note(busy, 'prefill', 14);
  expect(subject.dueIn(16)).toBe(13);
  subject.end(busy);
  expect(subject.dueIn(16)).toBe(13);
});

test('the worker can be known to be alive otherwise', () => {
  const subject = watch();
  subject.begin(0);
  subject.noteProgress(50);
  expect(subject.dueIn(60)).toBe(50);
});

test('a request whose client does not read is not awaited', () => {
  const subject = watch();
  const activity = subject.begin(0);
  note(activity, 'decode', 1);
  activity.held = true;
  expect(subject.dueIn(1_000_000)).toBe(15);
  Object.assign(activity, { held: false, awaitedSince: 1_000_000 });
  expect(subject.dueIn(1_000_000)).toBe(15);
  expect(subject.dueIn(1_000_015)).toBe(0);
});

test('an ended request is forgotten', () => {
  const subject = watch();
  subject.end(subject.begin(0));
  expect(subject.dueIn(100)).toBeUndefined();
});
