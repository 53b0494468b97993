import { judgePauses, type Pause } from '../../../chaos/hostile/pauses.js';

const pause = (from: number, to: number, waited = 0, starved = 0): Pause => ({
  ...{ from, to, waited, starved },
  ran: 0,
});
const nets = (server: Pause[], control: Pause[]) => judgePauses(server, control).map(({ net }) => net);

test('the longest pause comes first, and signs of life do not count', () => {
  expect(nets([pause(0, 50), pause(100, 900), pause(1_000, 1_100), pause(2_000, 2_010)], [])).toEqual([
    800, 100, 50,
  ]);
});

test.each([
  ['covers it', [pause(0, 500)], 0],
  ['overlaps its end', [pause(350, 900)], 250],
  ['lies inside it', [pause(200, 210), pause(220, 230)], 280],
  ['is at another time', [pause(0, 100), pause(400, 900)], 300],
])('a pause of the control process that %s', (_, control, net) => {
  expect(nets([pause(100, 400)], control)).toEqual([net]);
});

test('a wait for a core is noise too, and the same noise is not subtracted twice', () => {
  expect(nets([pause(100, 400, 120)], [])).toEqual([180]);
  expect(nets([pause(100, 400, 120)], [pause(100, 300)])).toEqual([100]);
  expect(nets([pause(100, 400, 5_000)], [])).toEqual([0]);
});

test('a sleep for lack of a core is noise too, besides the wait', () => {
  expect(nets([pause(100, 400, 120, 80)], [])).toEqual([100]);
  expect(nets([pause(100, 400, 0, 80)], [pause(100, 200)])).toEqual([200]);
});

test('time that the thread ran always counts', () => {
  const busy = { ...pause(100, 400, 200), ran: 250 };
  expect(nets([busy], [pause(0, 500)])).toEqual([250]);
  expect(nets([{ ...busy, ran: 310 }], [])).toEqual([300]);
});
