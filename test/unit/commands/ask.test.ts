import { once } from 'node:events';
import { PassThrough, Readable, Writable } from 'node:stream';
import {
  ASK_EXIT,
  clientOptionsForAsk,
  runAsk,
  type AskOptions,
  type PromptInput,
} from '../../../src/commands/ask.js';
import {
  cutAfter,
  deadUrl,
  delta,
  done,
  errorBody,
  event,
  fakeServer,
  finish,
  json,
  openSse,
  sse,
  type FakeServer,
  type Reply,
} from '../../support/fake-server.js';

class Sink extends Writable {
  text = '';
  isTTY = false;
  override _write(chunk: Buffer, _encoding: string, next: () => void): void {
    this.text += chunk.toString();
    this.emit('text', this.text);
    next();
  }
}

const terminal = (): PromptInput => Object.assign(new PassThrough(), { isTTY: true });

async function ask(prompt: string | undefined, reply: Reply, options: AskOptions = {}) {
  const { url, received } = await fakeServer(reply);
  return { ...(await askAt(url, prompt, options)), received };
}

async function askAt(url: string, prompt: string | undefined, options: AskOptions = {}) {
  const stdout = options.stdout instanceof Sink ? options.stdout : new Sink();
  const stderr = new Sink();
  const env = { LLM_BASE_URL: url, LLM_API_KEY: 'k-123', ...options.env };
  const code = await runAsk(prompt, { stdin: terminal(), ...options, stdout, stderr, env });
  return { code, out: stdout.text, err: stderr.text };
}

const hello = sse(delta('Hel'), delta('lo'), finish('stop'), done);

test('ask streams the reply and ends the line', async () => {
  const options = { model: 'fast', system: 'Be brief', maxTokens: 9, temperature: 0 };
  const { received, ...result } = await ask('hi', hello, options);
  expect(result).toEqual({ code: ASK_EXIT.ok, out: 'Hello\n', err: '' });
  expect(received[0]).toMatchObject({
    headers: { authorization: 'Bearer k-123' },
    body: { model: 'fast', max_tokens: 9, temperature: 0, stream: true },
  });
});

test('ask adds no line break to a reply that ends with one', async () => {
  expect(await ask('hi', sse(delta('done\n'), done))).toMatchObject({ out: 'done\n' });
});

test('ask shows each piece before the next one is sent', async () => {
  const stdout = new Sink();
  const shown = once(stdout, 'text');
  const reply: Reply = async (response) => {
    openSse(response, delta('one'));
    await shown;
    response.end(delta(' two') + done);
  };
  expect((await ask('hi', reply, { stdout })).out).toBe('one two\n');
});

describe('the prompt', () => {
  const piped = (...chunks: (string | Uint8Array)[]): PromptInput =>
    Readable.from(chunks, { objectMode: true });
  const promptOf = ({ received }: Pick<FakeServer, 'received'>) =>
    (received[0]!.body['messages'] as { content: string }[]).at(-1)?.content;

  test.each(['-', undefined])(
    '%s is read from a piped stdin, without its last line break',
    async (prompt) => {
      const llama = Buffer.from('a 🦙\nb\n');
      const stdin = piped(llama.subarray(0, 4), llama.subarray(4));
      expect(promptOf(await ask(prompt, hello, { stdin }))).toBe('a 🦙\nb');
    },
  );

  test('- is read from a terminal too', async () => {
    const stdin = Object.assign(piped('typed'), { isTTY: true });
    expect(promptOf(await ask('-', hello, { stdin }))).toBe('typed');
  });

  test('in the arguments leaves stdin alone', async () => {
    expect(promptOf(await ask('text', hello, { stdin: piped('other') }))).toBe('text');
  });

  test.each([
    ['missing, on a terminal', undefined, terminal(), 'pass a prompt, or - to read it from stdin'],
    ['an empty stdin', undefined, piped(), 'the prompt is empty'],
    ['blank', '  ', terminal(), 'the prompt is empty'],
  ])('is refused if it is %s', async (_, prompt, stdin, message) => {
    const result = await ask(prompt, hello, { stdin });
    expect(result).toEqual({ code: ASK_EXIT.usage, out: '', err: `lmserv ask: ${message}\n`, received: [] });
  });
});

describe('a failure is one line on stderr', () => {
  test('that says what to start when no server listens', async () => {
    const url = await deadUrl();
    expect(await askAt(url, 'hi')).toEqual({
      code: ASK_EXIT.failed,
      out: '',
      err: `lmserv ask: no reply from ${url} (ECONNREFUSED); start a server with "lmserv serve", or set LLM_BASE_URL to the address of a running server\n`,
    });
  });

  test('although the environment names a fallback', async () => {
    const result = await askAt(await deadUrl(), 'hi', { env: { LLM_PROVIDER_FALLBACK: 'stub' } });
    expect(result).toMatchObject({ code: ASK_EXIT.failed, out: '' });
  });

  const failed = ASK_EXIT.failed;
  const refused = (status: number, headers = {}) => json(status, errorBody('x', 'Bad API key'), headers);

  test.each<[string, Reply, number, string, string]>([
    ['401', refused(401), failed, '', 'Bad API key; set LLM_API_KEY to a key of this server (request req-1)'],
    [
      '429',
      refused(429, { 'retry-after': '7' }),
      failed,
      '',
      'Bad API key; try again in 7 s (request req-1)',
    ],
    [
      '503',
      refused(503, { 'retry-after': '1' }),
      failed,
      '',
      'Bad API key; try again in 1 s (request req-1)',
    ],
    ['400', refused(400), failed, '', 'Bad API key (request req-1)'],
    [
      'a broken stream',
      cutAfter(delta('par')),
      failed,
      'par\n',
      'the reply is incomplete: the stream ended before the reply was whole (request req-1)',
    ],
    [
      'an error event',
      sse(delta('par'), event(errorBody('lost', 'It broke'))),
      failed,
      'par\n',
      'the reply is incomplete: It broke (request req-1)',
    ],
    [
      'a reply that reached its limit',
      sse(delta('cut sho'), finish('length'), done),
      ASK_EXIT.ok,
      'cut sho\n',
      'the reply ended early: finish_reason length',
    ],
  ])('after the text so far: %s', async (_, reply, code, out, message) => {
    const result = await ask('hi', reply);
    expect(result).toMatchObject({ code, out, err: `lmserv ask: ${message}\n` });
  });

  test.each([
    [{ env: { LLM_PROVIDER: 'cloud' } }, 'provider'],
    [{ env: { LLM_TIMEOUT_SECS: 'x' } }, 'LLM_TIMEOUT_SECS'],
    [{ maxTokens: 0 }, 'maxTokens'],
  ])('that names an invalid option: %j', async (options, name) => {
    const { code, err, received } = await ask('hi', hello, options);
    expect(code).toBe(ASK_EXIT.usage);
    expect(err).toMatch(new RegExp(`^lmserv ask: .*${name}.*\n$`));
    expect(received).toEqual([]);
  });
});

describe('Ctrl-C', () => {
  let controller: AbortController;
  beforeEach(() => (controller = new AbortController()));
  const interrupted = { code: ASK_EXIT.interrupted, err: '' };

  test('within the reply ends the line, says nothing and closes the connection', async () => {
    const stdout = new Sink();
    stdout.once('text', () => controller.abort());
    let closed: Promise<unknown> | undefined;
    const reply: Reply = (response) => {
      closed = once(response, 'close');
      openSse(response, delta('one'));
    };
    const result = await ask('hi', reply, { stdout, signal: controller.signal });
    expect(result).toMatchObject({ ...interrupted, out: 'one\n' });
    await closed;
  });

  test('ends ask while the server thinks', async () => {
    const result = await ask('hi', () => controller.abort(), { signal: controller.signal });
    expect(result).toMatchObject({ ...interrupted, out: '' });
  });

  test('closes stdin while the prompt is typed', async () => {
    const stdin = new PassThrough();
    const closed = once(stdin, 'close').catch(() => undefined);
    const pending = ask('-', hello, { stdin, signal: controller.signal });
    controller.abort();
    expect(await pending).toMatchObject({ ...interrupted, out: '', received: [] });
    await closed;
    expect(stdin.destroyed).toBe(true);
  });

  test('ends ask while its output is blocked', async () => {
    const stdout = new Sink();
    stdout._write = () => controller.abort();
    const result = await ask('hi', hello, { stdout, signal: controller.signal });
    expect(result).toMatchObject(interrupted);
  });
});

test('a closed output ends ask quietly', async () => {
  const stdout = new Sink();
  stdout._write = (_chunk, _encoding, next: (error?: Error) => void) => next(new Error('EPIPE'));
  expect(await ask('hi', hello, { stdout })).toMatchObject({ code: ASK_EXIT.outputClosed, err: '' });
});

test('a terminal gets no control characters, a pipe gets the reply unchanged', async () => {
  const reply = sse(delta('a\u001b]0;title\u0007b\tc\r\n\u009b2Jd'), done);
  const stdout = Object.assign(new Sink(), { isTTY: true });
  expect(await ask('hi', reply, { stdout })).toMatchObject({ out: 'a]0;titleb\tc\n2Jd\n' });
  expect(await ask('hi', reply)).toMatchObject({ out: 'a\u001b]0;title\u0007b\tc\r\n\u009b2Jd\n' });
});

test.each([
  [{}, { baseUrl: 'http://localhost:8000', apiKey: 'changeme' }],
  [
    { HOST: '10.0.0.5', PORT: '9000', API_KEY: 'mine' },
    { baseUrl: 'http://10.0.0.5:9000', apiKey: 'mine' },
  ],
  [
    { HOST: '0.0.0.0', PORT: '0', API_KEY: '' },
    { baseUrl: 'http://127.0.0.1:8000', apiKey: '' },
  ],
  [{ HOST: '::1' }, { baseUrl: 'http://[::1]:8000' }],
  [{ HOST: '::' }, { baseUrl: 'http://[::1]:8000' }],
  [{ API_KEY: 'server', LLM_API_KEY: 'client' }, { apiKey: 'client' }],
])('without LLM_BASE_URL, %j lead to the server of this machine: %j', (env, options) => {
  expect(clientOptionsForAsk(env)).toMatchObject(options);
});

test.each([
  { LLM_BASE_URL: 'http://box:8000' },
  { LLM_URL: 'http://box:8000/llm' },
  { LLM_PROVIDER: 'openai' },
])("the server's own key is not sent to %j", (named) => {
  expect(clientOptionsForAsk({ ...named, API_KEY: 'server' }).apiKey).toBeUndefined();
});
