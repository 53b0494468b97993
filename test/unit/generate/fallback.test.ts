import { LMServError, type ErrorCode } from '../../../src/errors.js';
import { openFirst, type FallbackOptions, type MemberFailure } from '../../../src/generate/fallback.js';
import { pull, type TestContext } from '../../support/pulled.js';
import { chat, context, done, fails, FakeBackend, FakeTimers, hangs, run, text } from './helpers.js';

const failing = (name: string, code: ErrorCode, message?: string) =>
  new FakeBackend(name, fails(new LMServError(code, message)));

const serve = (backends: readonly FakeBackend[], its: TestContext, options: FallbackOptions = {}) => {
  const members = backends.map((backend) => ({ model: `model-${backend.name}`, backend }));
  const first = {
    open: (...[, context, sink]: Parameters<FakeBackend['open']>) =>
      openFirst(members, ({ model }) => chat({ model }), context, sink, options),
  };
  return pull(first, chat(), its);
};

const timesAsked = (backends: readonly FakeBackend[]) => backends.map(({ asked }) => asked.length);

describe('goes on to the next member', () => {
  test.each([
    'provider_api_error',
    'provider_timeout',
    'provider_rate_limited',
    'configuration_error',
    'generation_failed',
    'unavailable',
    'starting',
    'queue_timeout',
    'internal_error',
    'context_length_exceeded',
    'invalid_value',
  ] as const)('after %s', async (code) => {
    const backends = [failing('a', code), new FakeBackend('b'), new FakeBackend('c')];
    const its = context();
    const { said } = await run(serve(backends, its));
    expect(said).toBe('b');
    expect(timesAsked(backends)).toEqual([1, 1, 0]);
    expect(its.trace).toMatchObject({ attempts: 2, backend: 'b', model: 'model-b' });
  });

  test('after what nobody planned', async () => {
    const backends = [new FakeBackend('a', fails(new TypeError('bug'))), new FakeBackend('b')];
    expect((await run(serve(backends, context()))).said).toBe('b');
  });

  test('after a failure in the prefill', async () => {
    const late = new FakeBackend('a', function* () {
      yield { type: 'prefill', promptTokens: 3 } as const;
      throw new LMServError('generation_failed');
    });
    const { events } = await run(serve([late, new FakeBackend('b')], context()));
    expect(events.map((event) => event.type)).toEqual(['prefill', 'text', 'finish']);
  });

  test('and tells of each failure', async () => {
    const told: MemberFailure[] = [];
    const onFailure = (failure: MemberFailure) => told.push(failure);
    const failures = [
      failing('a', 'starting'),
      failing('b', 'provider_timeout'),
      failing('c', 'invalid_value'),
    ];
    await run(serve([...failures, new FakeBackend('d')], context(), { onFailure }));
    expect(
      told.map(({ requestId, model, backend, error, refusal }) => [
        ...[requestId, model, backend, error.code],
        refusal,
      ]),
    ).toEqual([
      ['r1', 'model-a', 'a', 'starting', true],
      ['r1', 'model-b', 'b', 'provider_timeout', false],
      ['r1', 'model-c', 'c', 'invalid_value', true],
    ]);
  });

  test('makes the request again for each', async () => {
    const backends = [failing('a', 'starting'), new FakeBackend('b')];
    await run(serve(backends, context()));
    expect(backends.map(({ asked }) => asked[0]!.request.model)).toEqual(['model-a', 'model-b']);
  });
});

describe('does not go on', () => {
  test('after the first token', async () => {
    const broken = new FakeBackend('a', function* () {
      yield text('half');
      throw new LMServError('generation_failed');
    });
    const backends = [broken, new FakeBackend('b')];
    const { said, thrown } = await run(serve(backends, context()));
    expect(said).toBe('half');
    expect(thrown).toMatchObject({ code: 'generation_failed' });
    expect(timesAsked(backends)).toEqual([1, 0]);
  });

  test.each(['special_token', 'prompt_quarantined', 'model_not_found', 'forbidden'] as const)(
    'after %s, which is the client’s own',
    async (code) => {
      const backends = [failing('a', code), new FakeBackend('b')];
      expect((await run(serve(backends, context()))).thrown).toMatchObject({ code });
      expect(timesAsked(backends)).toEqual([1, 0]);
    },
  );

  test('when the client has gone', async () => {
    const client = new AbortController();
    const backends = [new FakeBackend('a', hangs), new FakeBackend('b')];
    const events = serve(backends, context({ signal: client.signal }));
    await events.next();
    client.abort(new Error('gone'));
    await expect(events.next()).rejects.toThrow('gone');
    expect(timesAsked(backends)).toEqual([1, 0]);
  });
});

describe('members that are full', () => {
  const full = (name: string) =>
    new FakeBackend(name, (_request, { mayFallBack }) => {
      if (mayFallBack) throw new LMServError('queue_full');
      return [text(`${name} after a wait`), done];
    });

  test('do not hold up the request while another may serve it', async () => {
    const backends = [full('a'), new FakeBackend('b')];
    expect((await run(serve(backends, context()))).said).toBe('b');
    expect(backends[0]!.asked[0]!.context.mayFallBack).toBe(true);
    expect(backends[1]!.asked[0]!.context.mayFallBack).toBe(false);
  });

  test('are waited for when they are the last', async () => {
    const backends = [failing('a', 'provider_api_error'), full('b')];
    expect((await run(serve(backends, context()))).said).toBe('b after a wait');
  });

  test('are waited for when the others have failed', async () => {
    const backends = [full('a'), failing('b', 'provider_api_error')];
    const its = context();
    expect((await run(serve(backends, its))).said).toBe('a after a wait');
    expect(timesAsked(backends)).toEqual([2, 1]);
    expect(its.trace).toMatchObject({ attempts: 3, backend: 'a' });
  });
});

describe('when all fail', () => {
  test('one alone keeps its error', async () => {
    const its = context();
    const { thrown } = await run(serve([failing('a', 'provider_timeout', 'too slow')], its));
    expect(thrown).toMatchObject({ code: 'provider_timeout', message: 'too slow' });
    expect(its.trace.attempts).toBe(1);
  });

  test('several are unavailable, and the most telling one is heard', async () => {
    const telling = new LMServError('provider_api_error', 'it is broken', { providerStatus: 500 });
    const its = context();
    const { thrown } = await run(
      serve(
        [failing('a', 'queue_full'), new FakeBackend('b', fails(telling)), failing('c', 'provider_timeout')],
        its,
      ),
    );
    expect(thrown).toMatchObject({
      code: 'unavailable',
      status: 503,
      message: 'No backend can serve this request now: it is broken',
      providerStatus: 500,
      cause: telling,
    });
    // The full one was asked once more, to wait there.
    expect(its.trace.attempts).toBe(4);
  });

  const invalid = (message: string, param?: string) => new LMServError('invalid_value', message, { param });
  const tooLong = (message: string) =>
    new LMServError('context_length_exceeded', message, { param: 'messages' });

  test.each([
    ['the only one', [tooLong('8 tokens')], '8 tokens'],
    ['the first', [invalid('no images'), invalid('no audio')], 'no images'],
    ['what names a field', [invalid('bad'), invalid('no tools', 'tools')], 'no tools'],
    [
      'the last context',
      [tooLong('8 tokens'), invalid('no tools', 'tools'), tooLong('16 tokens')],
      '16 tokens',
    ],
  ])('because they cannot take such a request, it is a 400: %s', async (_, errors, message) => {
    const backends = errors.map((error, position) => new FakeBackend(`b${position}`, fails(error)));
    const { thrown } = await run(serve(backends, context()));
    expect(thrown).toMatchObject({ status: 400, message });
    expect(errors).toContain(thrown);
  });

  test.each([
    ['is down', 'provider_api_error', 'No backend can serve this request now: b'],
    ['is full', 'queue_full', 'No backend can serve this request now: b'],
    ['starts', 'starting', 'No backend can serve this request now: b'],
  ] as const)(
    'and one that might take the request %s, a later attempt may succeed',
    async (_, code, message) => {
      const backends = [new FakeBackend('a', fails(tooLong('8 tokens'))), failing('b', code, 'b')];
      const { thrown } = await run(serve(backends, context()));
      expect(thrown).toMatchObject({ code: 'unavailable', status: 503, message });
    },
  );

  test('the soonest time to come again is told', async () => {
    const limited = (retryAfter: number) =>
      new FakeBackend('x', fails(new LMServError('provider_rate_limited', 'no', { retryAfter })));
    const { thrown } = await run(serve([limited(30), limited(20)], context()));
    expect(thrown).toMatchObject({ code: 'unavailable', retryAfter: 20 });
  });

  test('none at all is unavailable', async () => {
    expect((await run(serve([], context()))).thrown).toMatchObject({ code: 'unavailable' });
  });
});

describe('the time to the first token', () => {
  test('is for all members together', async () => {
    const timers = new FakeTimers();
    const backends = [failing('a', 'starting'), new FakeBackend('b', hangs), new FakeBackend('c')];
    const events = serve(backends, context(), { firstTokenMs: 9_000, after: timers.after });
    expect(await events.next()).toMatchObject({ value: { type: 'prefill' } });
    timers.pass(9_000);
    await expect(events.next()).rejects.toMatchObject({
      code: 'unavailable',
      message: 'No backend can serve this request now: No backend sent a first token within 9 s',
    });
    expect(timesAsked(backends)).toEqual([1, 1, 0]);
    expect(timers.running).toBe(0);
  });

  test('keeps its own error where one was tried', async () => {
    const timers = new FakeTimers();
    const events = serve([new FakeBackend('a', hangs)], context(), {
      firstTokenMs: 9_000,
      after: timers.after,
    });
    await events.next();
    timers.pass(9_000);
    await expect(events.next()).rejects.toMatchObject({ code: 'provider_timeout' });
  });

  test('no longer counts after it', async () => {
    const timers = new FakeTimers();
    const events = serve([new FakeBackend('a')], context(), { firstTokenMs: 9_000, after: timers.after });
    await events.next();
    expect(timers.running).toBe(0);
    expect((await run(events)).events).toEqual([done]);
  });
});
