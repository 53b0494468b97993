import { busyEvictions } from '../../../bench/models.js';

const started = (requestId: string, worker: string) => ({ event: 'generation_started', requestId, worker });
const ended = (requestId: string) => ({ event: 'generation_end', requestId });
const unloaded = (model: string) => ({ event: 'model_unload', model, reason: 'evicted' });

test('an unload while a reply of the model has begun and not ended is found', () => {
  const lines = [
    started('1', 'a#0.1'),
    started('2', 'b#0.1'),
    ended('2'),
    unloaded('b'),
    unloaded('a'),
    ended('1'),
  ];
  expect(busyEvictions(lines as never)).toEqual(['a was unloaded (evicted) while it served']);
});

test('a reply that went to another model after a failure runs there', () => {
  const lines = [started('1', 'a#0.1'), started('1', 'b#0.1'), unloaded('a'), unloaded('b')];
  expect(busyEvictions(lines as never)).toEqual(['b was unloaded (evicted) while it served']);
});
