import { jest } from '@jest/globals';

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** Makes timeouts and intervals fake, and nothing else, until the end of the test. */
export const fakeTimeouts = () =>
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance', 'Date'] });

const performanceNow = performance.now.bind(performance);

/** Lets so many milliseconds pass at once, whatever the wall clock says, until the end of the test. */
export const pass = (ms: number) =>
  jest.spyOn(performance, 'now').mockImplementation(() => performanceNow() + ms);
