import type { JsonObject } from '../../../../src/contract.js';
import { findRejected } from '../../../../src/backends/remote/rejected-fields.js';
import {
  answering,
  backend,
  chat,
  context,
  refuses,
  run,
  sse,
  finish,
  streams,
  textOf,
  type Answer,
} from './helpers.js';
import { pull } from '../../../support/pulled.js';

const SENT: JsonObject = {
  model: 'm',
  messages: [],
  max_tokens: 8,
  temperature: 1,
  seed: 3,
  stop: ['x'],
  top_k: 4,
  tools: [],
  response_format: { type: 'json_object' },
  parallel_tool_calls: true,
  stream: true,
  stream_options: { include_usage: true },
};

describe('findRejected', () => {
  test.each([
    ['Unrecognized request argument supplied: stream_options', ['stream_options']],
    ['Unrecognized request arguments supplied: seed, top_k', ['seed', 'top_k']],
    [
      "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.",
      ['parallel_tool_calls'],
    ],
    ['Extra inputs are not permitted: stream_options', ['stream_options']],
    ['json: unknown field "top_k"', ['top_k']],
    ['Unknown name "seed": Cannot find field.', ['seed']],
    ["Additional properties are not allowed ('top_k' was unexpected)", ['top_k']],
    ["__init__() got an unexpected keyword argument 'top_k'", ['top_k']],
    ['Unknown parameter: seed', ['seed']],
    ['seed: Extra inputs are not permitted', ['seed']],
    ['property `stream_options` is unsupported', ['stream_options']],
    ['This model does not support the parameter temperature', ['temperature']],
    ['Model does not support parameter topK', ['top_k']],
    ["seed: property 'seed' is unsupported", ['seed']],
    ['body -> seed   Extra inputs are not permitted (type=extra_forbidden)', ['seed']],
    [
      "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]",
      ['stream_options'],
    ],
    [
      "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
      ['temperature'],
    ],
  ])('%s', (words, fields) => {
    expect(findRejected(SENT, words, [])).toEqual({ fields, dispensable: true, lasting: true });
  });

  test.each([
    ['tools is not supported', ['tools']],
    ["Unsupported parameter: 'max_tokens' is not supported with this model.", ['max_tokens']],
    ['response_format: Extra inputs are not permitted', ['response_format']],
    ['Unknown parameter: stop', ['stop']],
    ['unknown fields "top_k", "stop"', ['stop', 'top_k']],
  ])('%s: a constraint is not left out', (words, fields) => {
    expect(findRejected(SENT, words, [])).toEqual({ fields, dispensable: false, lasting: false });
  });

  test.each([
    ['because', ['body.x', 'nothing']],
    ['the user does not exist', []],
    ['you must not stop', []],
    ['the seed of the model is unknown to us', []],
    ['temperature must be at most 1', []],
  ])('%s: nothing that was sent is rejected', (words, named) => {
    expect(findRejected(SENT, words, named)).toBeUndefined();
  });

  test.each([
    [
      'the field, with words',
      'not supported',
      ['seed'],
      { fields: ['seed'], dispensable: true, lasting: true },
    ],
    ['the field, without', 'because', ['seed'], { fields: ['seed'], dispensable: true, lasting: false }],
    [
      'a path',
      'unknown',
      ['stream_options.include_usage'],
      { fields: ['stream_options'], dispensable: true, lasting: true },
    ],
    [
      'a path in brackets',
      'unknown',
      ['tools[0].x'],
      { fields: ['tools'], dispensable: false, lasting: false },
    ],
    [
      'a value',
      'must be at most 1',
      ['temperature'],
      { fields: ['temperature'], dispensable: false, lasting: false },
    ],
    [
      'a value of ours',
      'must be null',
      ['stream_options'],
      { fields: ['stream_options'], dispensable: true, lasting: true },
    ],
    [
      'a limit',
      'max_tokens is too large',
      ['max_tokens'],
      { fields: ['max_tokens'], dispensable: false, lasting: false },
    ],
  ])('an error that names %s', (_, words, named, expected) => {
    expect(findRejected(SENT, words, named)).toEqual(expected);
  });
});

describe('a server that rejects fields', () => {
  const MISTRAL = (field: string) => ({
    object: 'error',
    message: {
      detail: [{ type: 'extra_forbidden', loc: ['body', field], msg: 'Extra inputs are not permitted' }],
    },
    type: 'invalid_request_error',
  });

  /** Takes only some fields, and names the first other one. */
  const strict =
    (unknown: readonly string[], status = 422, body: (field: string) => unknown = MISTRAL): Answer =>
    (asked) => {
      const extra = Object.keys(asked.body).find((name) => unknown.includes(name));
      (extra === undefined ? streams() : refuses(status, body(extra)))(asked);
    };

  const ask = (far: ReturnType<typeof backend>['backend'], body: JsonObject = {}, its = context()) =>
    run(pull(far, { ...chat, body: { ...chat.body, ...body } }, its));

  test.each<[string, number, (field: string) => unknown]>([
    ['Mistral', 422, MISTRAL],
    [
      'FastAPI',
      422,
      (field) => ({
        detail: [{ type: 'extra_forbidden', loc: ['body', field], msg: 'Extra inputs are not permitted' }],
      }),
    ],
    [
      'OpenAI',
      400,
      (field) => ({
        error: {
          message: `Unrecognized request argument supplied: ${field}`,
          type: 'invalid_request_error',
          param: null,
          code: null,
        },
      }),
    ],
    [
      'OpenAI’s param',
      400,
      (param) => ({
        error: {
          message: 'Unknown parameter',
          type: 'invalid_request_error',
          param,
          code: 'unknown_parameter',
        },
      }),
    ],
    ['Go', 400, (field) => ({ error: `json: unknown field "${field}"` })],
    [
      'Google',
      400,
      (field) => [
        {
          error: {
            code: 400,
            message: `Invalid JSON payload received. Unknown name "${field}": Cannot find field.`,
            status: 'INVALID_ARGUMENT',
          },
        },
      ],
    ],
    [
      'a gateway',
      400,
      (field) => ({
        error: {
          message: 'Provider returned error',
          code: 400,
          metadata: {
            raw: JSON.stringify({
              detail: [{ loc: ['body', field], msg: 'Extra inputs are not permitted' }],
            }),
          },
        },
      }),
    ],
    ['a server that fails on them', 500, (field) => ({ error: `json: unknown field "${field}"` })],
    ['plain text', 400, (field) => `unknown field: ${field}`],
    ['status 200', 200, (field) => ({ error: { code: 400, message: `Unknown parameter: '${field}'` } })],
  ])('as %s does is asked again without them, which is remembered for an hour', async (_, status, body) => {
    const server = await answering(strict(['stream_options', 'seed'], status, body));
    const { backend: far, clock, lines } = backend(server.url);
    const its = context();
    const { events, thrown } = await ask(far, { seed: 5, top_p: 0.5 }, its);
    expect([thrown, textOf(events)]).toEqual([undefined, 'Hello']);
    expect(server.asked.map((asked) => ['seed' in asked.body, 'stream_options' in asked.body])).toEqual([
      [true, true],
      [false, true],
      [false, false],
    ]);
    expect(server.asked[2]!.body).toMatchObject({ top_p: 0.5, max_tokens: 8, stream: true });
    expect(its.trace.attempts).toBe(3);
    expect(lines.filter(({ event }) => event === 'provider_fields_rejected')).toMatchObject([
      { backend: 'far', fields: ['seed', 'stream_options'] },
    ]);
    await ask(far, { seed: 5 });
    clock.advance(3_599_999);
    await ask(far, { seed: 5 });
    expect(server.asked).toHaveLength(5);
    clock.advance(1);
    await ask(far, { seed: 5 });
    expect(server.asked).toHaveLength(8);
  });

  test('gets several in one go', async () => {
    const both = ['stream_options', 'seed'].map((field) => ({
      loc: ['body', field],
      msg: 'Extra inputs are not permitted',
    }));
    const server = await answering(refuses(422, { detail: both }), streams());
    expect(textOf((await ask(backend(server.url).backend, { seed: 5 })).events)).toBe('Hello');
    expect(server.asked[1]!.body).not.toHaveProperty('seed');
    expect(server.asked[1]!.body).not.toHaveProperty('stream_options');
  });

  test('is asked without them before another backend is', async () => {
    const server = await answering(strict(['stream_options']));
    const its = context({ mayFallBack: true });
    expect(textOf((await ask(backend(server.url).backend, {}, its)).events)).toBe('Hello');
  });

  test('and then fails otherwise teaches nothing', async () => {
    const server = await answering(refuses(422, MISTRAL('seed')), refuses(422, { detail: 'no' }), streams());
    const { backend: far } = backend(server.url);
    expect((await ask(far, { seed: 5 })).thrown).toMatchObject({ code: 'invalid_value', message: 'no' });
    await ask(far, { seed: 5 });
    expect(server.asked[2]!.body).toHaveProperty('seed');
  });

  test('rejects a value of one client, and still gets those of others', async () => {
    const body = {
      error: {
        message: 'temperature must be at most 1',
        type: 'invalid_request_error',
        param: 'temperature',
      },
    };
    const server = await answering(refuses(400, body), streams());
    const { backend: far } = backend(server.url);
    expect((await ask(far, { temperature: 2 })).thrown).toMatchObject({
      code: 'invalid_value',
      param: 'temperature',
    });
    await ask(far, { temperature: 1 });
    expect(server.asked[1]!.body.temperature).toBe(1);
  });

  test.each([
    ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }],
    ['tool_choice', { tool_choice: 'required' }],
    ['response_format', { response_format: { type: 'json_object' } }],
    ['stop', { stop: ['x'] }],
    ['logit_bias', { logit_bias: { 5: 1 } }],
    ['logprobs', { logprobs: true }],
    ['max_tokens', {}],
  ] as [string, JsonObject][])('is not asked without %s: 400 names it', async (field, body) => {
    const server = await answering(strict([field]));
    const { backend: far, lines } = backend(server.url);
    for (let count = 0; count < 6; count += 1) {
      expect((await ask(far, body)).thrown).toMatchObject({
        code: 'invalid_value',
        status: 400,
        providerStatus: 422,
        param: field,
        message: `${field}: Extra inputs are not permitted`,
      });
    }
    // It does not count for the circuit breaker.
    expect(far.status().ready).toBe(true);
    expect(server.asked).toHaveLength(6);
    expect(lines[0]).toMatchObject({
      event: 'provider_refusal',
      reason: `${field}: Extra inputs are not permitted`,
      providerStatus: 422,
    });
  });

  test('reports no usage without stream_options, so that it is counted', async () => {
    const server = await answering(
      refuses(422, MISTRAL('stream_options')),
      streams(sse({ choices: [{ delta: { content: 'a' } }] }, finish(), '[DONE]')),
    );
    const { events } = await ask(backend(server.url).backend);
    expect(events.at(-1)).toMatchObject({ type: 'usage', usage: { completionTokens: 1 } });
  });
});
