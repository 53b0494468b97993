import { Load } from '../../chaos/load.js';

async function sentAtOnce(options: { concurrency: number; burstEvery: number; burstSize: number }) {
  const sent: number[] = [];
  let open = 0;
  let most = 0;
  const send = async (index: number) => {
    sent.push(index);
    most = Math.max(most, (open += 1));
    await new Promise(setImmediate);
    open -= 1;
  };
  const load = new Load({ ...options, send });
  await load.run((count) => count < 50);
  return { sent, most, open, load };
}

test('requests are numbered, and all end, so many at a time', async () => {
  const { sent, most, open } = await sentAtOnce({ concurrency: 4, burstEvery: 0, burstSize: 9 });
  expect(sent).toEqual(Array.from({ length: 50 }, (_, index) => index));
  expect([most, open]).toEqual([4, 0]);
});

test('a burst is sent at once, up to the total', async () => {
  const { sent, most, open } = await sentAtOnce({ concurrency: 2, burstEvery: 20, burstSize: 100 });
  expect(sent).toHaveLength(50);
  expect(most).toBeGreaterThanOrEqual(30);
  expect(open).toBe(0);
});

test('a second run continues the numbers of the first', async () => {
  const { sent, load } = await sentAtOnce({ concurrency: 1, burstEvery: 0, burstSize: 0 });
  await load.run((count) => count < 52);
  expect(sent.slice(-2)).toEqual([50, 51]);
  expect(load.sent).toBe(52);
});
