/** A credential must not come back to anybody, whatever the remote server does with it. */

import { inspect } from 'node:util';
import {
  answered,
  backend,
  chat,
  context,
  diesAfter,
  refuses,
  run,
  sse,
  streams,
  token,
  type Answer,
  type Asked,
} from './helpers.js';
import { deadUrl } from '../../../support/fake-server.js';
import { pull } from '../../../support/pulled.js';

const CANARY = 'canary-7f3e/91+kd==x';

/** All the ways to write it. */
const SPELLINGS = [
  CANARY,
  encodeURIComponent(CANARY),
  Buffer.from(CANARY).toString('base64').replace(/=+$/, ''),
];

/** What a careless server may quote: the header it got, a URL with the key, the key alone, in each spelling. */
const ECHOES: readonly ((asked: Asked) => string)[] = [
  ({ headers }) => `bad header authorization: ${headers.authorization}`,
  ({ headers }) => JSON.stringify({ received: headers }),
  () => `GET /v1/models?key=${encodeURIComponent(CANARY)}&alt=sse failed`,
  () => `Incorrect API key provided: ${CANARY}.`,
  () => `Basic ${Buffer.from(`user:${CANARY}`).toString('base64')} / ${SPELLINGS[2]}`,
  () => `https://user:${CANARY}@proxy/`,
];

const told = (status: number, echo: (asked: Asked) => string): Answer => {
  return (asked) =>
    refuses(status, { error: { message: echo(asked), param: echo(asked), type: 'invalid_request_error' } })(
      asked,
    );
};

const CASES = ECHOES.flatMap((echo, number): [string, Answer][] => [
  ...[400, 401, 404, 429, 500, 503].map((status): [string, Answer] => [
    `${status}, echo ${number}`,
    told(status, echo),
  ]),
  [`a bare error, echo ${number}`, (asked) => refuses(500, { error: echo(asked) })(asked)],
  [`plain text, echo ${number}`, (asked) => refuses(500, echo(asked))(asked)],
  [
    `a redirect, echo ${number}`,
    (asked) => refuses(302, echo(asked), { location: `/?key=${CANARY}` })(asked),
  ],
  [`a stream of garbage, echo ${number}`, (asked) => streams(`data: ${echo(asked)}\n\n`)(asked)],
  [
    `an error in the stream, echo ${number}`,
    (asked) => streams(sse(token('a'), { error: { message: echo(asked) } }))(asked),
  ],
  [`a cut, echo ${number}`, (asked) => diesAfter(`: ${echo(asked)}\n\n`)(asked)],
]);

function expectNoCanary(what: unknown): void {
  const causes: unknown[] = [];
  for (let error: unknown = what; error instanceof Error; error = error.cause) {
    causes.push(error.message, error.stack, JSON.stringify(error));
  }
  const all = [inspect(what, { depth: 20, showHidden: true }), JSON.stringify(what), ...causes].join('\n');
  for (const spelling of SPELLINGS) expect(all).not.toContain(spelling);
}

test.each(CASES)('%s', async (_, answer) => {
  const { thrown, server, lines, far } = await answered(answer, { apiKey: CANARY });
  expect(server.asked[0]!.headers.authorization).toBe(`Bearer ${CANARY}`);
  expect(thrown).toMatchObject({ name: 'LMServError' });
  expectNoCanary(thrown);
  expectNoCanary(lines);
  expectNoCanary(far);
});

test('a server that is not there', async () => {
  const { backend: far, lines } = backend(await deadUrl(), { apiKey: CANARY });
  const { thrown } = await run(pull(far, chat, context()));
  expect(thrown).toMatchObject({ code: 'provider_api_error' });
  expectNoCanary(thrown);
  expectNoCanary(lines);
});

test('a key that no header may hold', async () => {
  const { backend: far } = backend('http://far', { apiKey: `${CANARY}\n${CANARY}` });
  const { thrown } = await run(pull(far, chat, context()));
  expect(thrown).toMatchObject({ code: 'configuration_error' });
  expectNoCanary(thrown);
});
