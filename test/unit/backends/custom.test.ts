import { PulledBackend } from '../../../src/backends/custom.js';
import { withoutWorkers } from '../../../src/backends/status.js';
import type { CustomBackend, GenerateEvent, ReplyEvent } from '../../../src/contract.js';
import { ReplyFlow } from '../../../src/generate/flow.js';
import { pull } from '../../support/pulled.js';
import { chat, context, run } from './remote/helpers.js';

/** A custom backend with this `generate`. */
const custom = (generate: CustomBackend['generate']) =>
  new PulledBackend('own', {
    name: 'own',
    start: () => undefined,
    stop: async () => undefined,
    status: () => withoutWorkers(true),
    generate,
  });

/** Runs a backend that yields these. */
function reply(...events: unknown[]) {
  const backend = custom(async function* () {
    yield* events as ReplyEvent[];
  });
  return run(pull(backend, chat, context()));
}

const text = { type: 'text', index: 0, text: 'a' };
const finish = { type: 'finish', index: 0, reason: 'stop' };
const usage = { type: 'usage', usage: { promptTokens: 3, completionTokens: 1, cachedTokens: 0 } };
const prefill = { type: 'prefill', promptTokens: 3 };

test('a valid reply is passed on unchanged', async () => {
  expect(await reply(prefill, text, finish, usage)).toEqual({
    events: [prefill, text, finish, usage],
    thrown: undefined,
  });
});

test('a wrong index, text after the finish and a second usage do no harm, and nothing is lost', async () => {
  const { events } = await reply(
    prefill,
    { ...text, index: 5 },
    { ...finish, index: -1 },
    text,
    finish,
    usage,
    usage,
  );
  expect(events).toEqual([prefill, text, text, finish, usage]);
});

test('missing usage is counted', async () => {
  const { events } = await reply(prefill, text, finish);
  expect(events.at(-1)).toEqual(usage);
});

test.each([
  ['NaN as usage', [text, finish, { type: 'usage', usage: { ...usage.usage, promptTokens: NaN } }]],
  ['negative usage', [{ type: 'usage', usage: { ...usage.usage, completionTokens: -1 } }, text, finish]],
  ['a usage event without usage', [{ type: 'usage' }]],
  ['a text that is not a string', [{ ...text, text: undefined }]],
  ['an unknown finish reason', [{ ...finish, reason: 'tired' }]],
  ['an unknown event', [{ type: 'other' }]],
  ['undefined as an event', [undefined]],
  ['a missing call', [{ type: 'tool_call', index: 0 }]],
  ['a negative index of a call', [{ type: 'tool_call', index: 0, call: { index: -1 } }]],
])('%s only breaks the reply', async (_, events) => {
  expect((await reply(...events)).thrown).toMatchObject({
    code: 'generation_failed',
    message: 'The backend own sent something that is not part of a reply',
  });
});

test('a reply without a finish is broken', async () => {
  expect((await reply(prefill, text)).thrown).toMatchObject({
    message: 'The backend own ended its reply before it was finished',
  });
});

test('a client that stalls pauses the backend, and one that leaves ends it', async () => {
  const flow = new ReplyFlow();
  const client = new AbortController();
  let made = 0;
  let ended = false;
  const backend = custom(async function* () {
    try {
      for (;;) {
        made += 1;
        yield { type: 'text', index: 0, text: 'a' };
      }
    } finally {
      ended = true;
    }
  });
  const hold = { event: ({ type }: GenerateEvent) => type === 'text' && made % 2 === 0 && flow.hold() };
  const { done } = await backend.open(chat, context({ flow, signal: client.signal }), hold);
  await new Promise(setImmediate);
  expect(made).toBe(2);
  flow.release();
  await new Promise(setImmediate);
  expect(made).toBe(4);
  client.abort(new Error('gone'));
  await expect(done).rejects.toThrow('gone');
  expect(ended).toBe(true);
});

test('a reply that fails before it is awaited causes no unhandled rejection', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  const backend = custom(async function* () {
    yield text as ReplyEvent;
    throw new Error('broken');
  });
  const { done } = await backend.open(chat, context(), { event: () => undefined });
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
  await expect(done).rejects.toThrow('broken');
});
