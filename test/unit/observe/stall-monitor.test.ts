import { jest } from '@jest/globals';
import { StallMonitor } from '../../../src/observe/stall-monitor.js';

/** A monitor whose timer fires by `tickAfter`, `ms` after it last fired. */
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

test('a pause of more than a second is reported with its length', () => {
  const { stalls, tickAfter } = monitored();
  for (const ms of [200, 999, 1_001, 200, 30_000]) tickAfter(ms);
  expect(stalls.map(({ ms }) => ms)).toEqual([1_001, 30_000]);
});

test('a stall has the routes of requests that are open or ended within it, each once', () => {
  const { monitor, stalls, tickAfter } = monitored();
  monitor.requestBegan(() => '/early')();
  tickAfter(200);
  monitor.requestBegan(() => '/chat');
  monitor.requestBegan(() => '/chat');
  monitor.requestBegan(() => '/usage')();
  tickAfter(2_000);
  tickAfter(2_000);
  expect(stalls.map(({ routes }) => routes)).toEqual([['/chat', '/usage'], ['/chat']]);
});

test('a route is read after the stall, because a request begins before it is matched', () => {
  const { monitor, stalls, tickAfter } = monitored();
  let route = 'unknown';
  monitor.requestBegan(() => route);
  route = '/llm';
  tickAfter(1_500);
  expect(stalls).toEqual([{ ms: 1_500, routes: ['/llm'] }]);
});

test('a stopped monitor has no timer, and a restarted one ignores the time between', () => {
  const { monitor, stalls, tickAfter } = monitored();
  monitor.stop();
  expect(jest.getTimerCount()).toBe(0);
  tickAfter(60_000);
  monitor.start();
  tickAfter(200);
  expect(stalls).toEqual([]);
});
