import { Circuit } from '../../../../src/backends/remote/circuit.js';
import { readRetryAfter, retryWait } from '../../../../src/backends/remote/retry-policy.js';

describe('retryWait', () => {
  const limits = { attempts: 3, budgetMs: 1_000 };

  test('jitters from nothing to a bound that doubles', () => {
    const waits = [1, 2, 3].map((failures) => retryWait({ failures, elapsedMs: 0 }, limits, () => 1));
    expect(waits).toEqual([200, 400, 800]);
    expect(retryWait({ failures: 3, elapsedMs: 0 }, limits, () => 0)).toBe(0);
  });

  test('stops doubling at five seconds', () => {
    const wide = { attempts: 50, budgetMs: 60_000 };
    expect(retryWait({ failures: 40, elapsedMs: 0 }, wide, () => 1)).toBe(5_000);
  });

  test('ends after the attempts', () => {
    expect(retryWait({ failures: 4, elapsedMs: 0 }, limits, () => 0)).toBeUndefined();
  });

  test('ends with the budget', () => {
    expect(retryWait({ failures: 1, elapsedMs: 800 }, limits, () => 1)).toBe(200);
    expect(retryWait({ failures: 1, elapsedMs: 801 }, limits, () => 1)).toBeUndefined();
  });

  test('comes no sooner than asked, and not at all when that is too late', () => {
    expect(retryWait({ failures: 1, elapsedMs: 0, retryAfterMs: 500 }, limits, () => 0.5)).toBe(600);
    expect(retryWait({ failures: 1, elapsedMs: 0, retryAfterMs: 1_001 }, limits, () => 0)).toBeUndefined();
  });
});

describe('readRetryAfter', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const read = (headers: Record<string, string>) => readRetryAfter((name) => headers[name], now);

  test.each([
    [{ 'retry-after': '3' }, 3_000],
    [{ 'retry-after': '0.5' }, 500],
    [{ 'retry-after-ms': '250', 'retry-after': '9' }, 250],
    [{ 'retry-after': 'Thu, 01 Jan 2026 00:00:10 GMT' }, 10_000],
    [{ 'retry-after': 'Wed, 31 Dec 2025 00:00:00 GMT' }, 0],
    [{ 'retry-after': '999999999' }, 86_400_000],
    [{ 'retry-after': 'Thu, 01 Jan 2099 00:00:10 GMT' }, 86_400_000],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-1e9' }, undefined],
    [{}, undefined],
  ])('%j is %p', (headers, ms) => {
    expect(read(headers as Record<string, string>)).toBe(ms);
  });
});

describe('Circuit', () => {
  const limits = { failures: 3, firstMs: 1_000, longestMs: 4_000 };

  function failing(random = 1) {
    const circuit = new Circuit(limits, () => random);
    /** Fails so often; what the last failure returns. */
    const fail = (now: number, times = 1): number | undefined => {
      const ms = circuit.onFailure(circuit.enter(now)!, now);
      return times > 1 ? fail(now, times - 1) : ms;
    };
    return { circuit, fail };
  }

  test('opens with the last of the failures in a row, and says for how long', () => {
    const { circuit, fail } = failing();
    expect([fail(0), fail(0)]).toEqual([undefined, undefined]);
    expect(circuit.isOpen(0)).toBe(false);
    expect(fail(0)).toBe(1_000);
    expect(circuit.isOpen(999)).toBe(true);
    expect(circuit.enter(999)).toBeUndefined();
    expect(circuit.waitMs(400)).toBe(600);
  });

  test('jitters the time', () => {
    const { fail } = failing(0);
    expect(fail(0, 3)).toBe(500);
  });

  test('a success in between begins the count again', () => {
    const { circuit, fail } = failing();
    fail(0, 2);
    circuit.onSuccess(circuit.enter(0)!);
    expect([fail(0), fail(0)]).toEqual([undefined, undefined]);
    expect(fail(0)).toBe(1_000);
  });

  test('lets one probe through, and stays open longer each time it fails', () => {
    const { circuit, fail } = failing();
    fail(0, 3);
    const times = [];
    let now = 1_000;
    for (let turn = 0; turn < 4; turn += 1) {
      const probe = circuit.enter(now)!;
      expect(probe.probe).toBe(true);
      expect(circuit.enter(now)).toBeUndefined();
      const ms = circuit.onFailure(probe, now)!;
      times.push(ms);
      now += ms;
    }
    expect(times).toEqual([2_000, 4_000, 4_000, 4_000]);
  });

  test('the probe’s first token closes it; only a whole success forgets how often it opened', () => {
    const { circuit, fail } = failing();
    fail(0, 3);
    const probe = circuit.enter(1_000)!;
    circuit.onFirstToken(probe);
    expect(circuit.enter(1_000)).toEqual({ probe: false });
    expect(circuit.onFailure(probe, 1_000)).toBeUndefined();
    fail(1_000);
    expect(fail(1_000)).toBe(2_000);
    circuit.onSuccess(circuit.enter(3_000)!);
    expect(fail(3_000, 3)).toBe(1_000);
  });

  test('a probe that is withdrawn leaves its place', () => {
    const { circuit, fail } = failing();
    fail(0, 3);
    circuit.onCancelled(circuit.enter(1_000)!);
    expect(circuit.enter(1_000)).toEqual({ probe: true });
  });

  test('what began before it opened no longer counts', () => {
    const { circuit, fail } = failing();
    const early = [circuit.enter(0)!, circuit.enter(0)!];
    fail(0, 3);
    expect(circuit.onFailure(early[0]!, 500)).toBeUndefined();
    circuit.onSuccess(early[1]!);
    expect(circuit.isOpen(999)).toBe(true);
    expect(circuit.isOpen(1_000)).toBe(false);
  });
});
