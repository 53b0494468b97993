import { jest } from '@jest/globals';
import { StallMonitor } from '../../../src/observe/stall-monitor.js';

/** A monitor whose timer fires when the test says so, `ms` after it fired last. */
function monitored() {
  let now = 5_000;
  const stalls: { ms: number; routes: readonly string[] }[] = [];
  const monitor = new StallMonitor({ now: () => now, onStall: (ms, routes) => stalls.push({ ms, routes }) });
  monitor.start();
  const tickAfter = (ms: number) => {
    now += ms;
    jest.runOnlyPendingTimers();
  };
  return { monitor, stalls, tickAfter };
}

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

test('a pause above a second is told with its length, a shorter one is not', () => {
  const { stalls, tickAfter } = monitored();
  for (const ms of [200, 999, 1_001, 200, 30_000]) tickAfter(ms);
  expect(stalls.map(({ ms }) => ms)).toEqual([1_001, 30_000]);
});

test('the routes are those of open requests and of those that ended within the pause, each once', () => {
  const { monitor, stalls, tickAfter } = monitored();
  const early = monitor.requestBegan(() => '/early');
  early();
  tickAfter(200);
  monitor.requestBegan(() => '/chat');
  monitor.requestBegan(() => '/chat');
  const ended = monitor.requestBegan(() => '/usage');
  ended();
  tickAfter(2_000);
  tickAfter(2_000);
  expect(stalls.map(({ routes }) => routes)).toEqual([['/chat', '/usage'], ['/chat']]);
});

test('a route is asked for when it matters, because a request begins before it is matched', () => {
  const { monitor, stalls, tickAfter } = monitored();
  let route = 'unknown';
  monitor.requestBegan(() => route);
  route = '/llm';
  tickAfter(1_500);
  expect(stalls).toEqual([{ ms: 1_500, routes: ['/llm'] }]);
});

test('a stopped monitor leaves no timer, and one that starts again does not count the time between', () => {
  const { monitor, stalls, tickAfter } = monitored();
  monitor.stop();
  expect(jest.getTimerCount()).toBe(0);
  tickAfter(60_000);
  monitor.start();
  tickAfter(200);
  expect(stalls).toEqual([]);
});
