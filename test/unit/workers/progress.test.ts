import { ProgressWatch } from '../../../workers/progress.js';

const watch = () => new ProgressWatch({ firstTokenMs: 60, tokenMs: 15 });

test('nothing is due while nothing is asked', () => {
  expect(watch().dueIn(0)).toBeUndefined();
});

test('before the first token the longer limit holds, and prefill progress counts', () => {
  const subject = watch();
  const activity = subject.begin(0);
  expect(subject.dueIn(10)).toBe(50);
  subject.progress(activity, 'prefill', 40);
  subject.wait(activity, 41);
  expect(subject.dueIn(41)).toBe(60);
});

test('after it the shorter one', () => {
  const subject = watch();
  const activity = subject.begin(0);
  subject.progress(activity, 'decode', 5);
  subject.wait(activity, 5);
  expect(subject.dueIn(20)).toBe(0);
});

test('progress of any slot is progress of all', () => {
  const subject = watch();
  const slow = subject.begin(0);
  const busy = subject.begin(0);
  subject.progress(slow, 'decode', 0);
  subject.wait(slow, 0);
  subject.progress(busy, 'prefill', 14);
  subject.wait(busy, 14);
  expect(subject.dueIn(16)).toBe(13);
});

test('a request whose client does not read is not waited for', () => {
  const subject = watch();
  const activity = subject.begin(0);
  subject.progress(activity, 'decode', 1);
  expect(subject.dueIn(1_000_000)).toBeUndefined();
  subject.wait(activity, 1_000_000);
  expect(subject.dueIn(1_000_000)).toBe(15);
});

test('an ended request is forgotten', () => {
  const subject = watch();
  subject.end(subject.begin(0));
  expect(subject.dueIn(100)).toBeUndefined();
});
