import { figuresOf, passed } from '../chaos/figures.js';
import { parseChaosArgs, type ChaosOptions } from '../chaos/options.js';
import { runChaos } from '../chaos/run.js';
import { compile } from '../harness/server-process.js';

/** A small chaos run: its own checks, and that what it breaks is really broken. */

const REQUESTS = 300;

const asked = parseChaosArgs([
  ...['--requests', String(REQUESTS), '--seed', '5', '--workers', '2', '--concurrency', '8'],
  ...['--kill-every', '400', '--stop-rate', '0'],
]) as ChaosOptions;

/** Fewer than are asked at a time would let a reply in the wrong place look right. */
const QUESTIONS = 110;

test('every request ends in a way that its client can handle while workers are killed and clients leave', async () => {
  await compile();
  const found = await runChaos(
    { ...asked, burstEvery: 100 },
    { questions: QUESTIONS, signal: new AbortController().signal },
  );
  const { tally, ending, after } = found;

  expect(tally.examples.filter(({ outcome }) => outcome === 'lost')).toEqual([]);
  expect(tally.balanced).toBe(true);
  expect(passed(found)).toBe(true);
  expect(tally.admitted).toBeGreaterThan(REQUESTS);
  for (const outcome of ['finished', 'refused', 'cancelled'] as const)
    expect(tally.outcomes[outcome]).toBeGreaterThan(0);

  expect(found.kills).toBeGreaterThan(0);
  expect(found.noticedMs).toHaveLength(found.kills);
  expect(after?.slots).toEqual({ total: 2, idle: 2 });
  expect(ending).toMatchObject({ code: 0, orphans: [] });
  expect(figuresOf(found).find(({ name }) => name === 'zombies')).toMatchObject({ value: '0', met: true });
}, 300_000);
