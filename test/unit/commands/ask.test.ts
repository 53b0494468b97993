import { once } from 'node:events';
import { PassThrough, Readable, Writable } from 'node:stream';
import {
  ASK_EXIT,
  runAsk,
  type AskOptions,
  clientOptionsForAsk,
  type PromptInput,
} from '../../../src/commands/ask.js';
import {
  FakeServer,
  cutAfter,
  deadUrl,
  delta,
  done,
  errorBody,
  event,
  finish,
  json,
  openSse,
  sse,
  stopServers,
  type Answer,
} from '../client/fake-server.js';

afterEach(stopServers);

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

async function ask(prompt: string | undefined, answer: Answer, options: AskOptions = {}) {
  const server = await FakeServer.start(answer);
  const result = await askAt(server.url, prompt, options);
  return { ...result, received: server.received };
}

async function askAt(url: string, prompt: string | undefined, options: AskOptions = {}) {
  const stdout = options.stdout instanceof Sink ? options.stdout : new Sink();
  const stderr = new Sink();
  const env = { LLM_BASE_URL: url, LLM_API_KEY: 'k-123', ...options.env };
  const code = await runAsk(prompt, { stdin: terminal(), ...options, stdout, stderr, env });
  return { code, out: stdout.text, err: stderr.text };
}

const hello = sse(delta('Hel'), delta('lo'), finish('stop'), done);

test('streams the answer and ends the line', async () => {
  const options = { model: 'fast', system: 'Be brief', maxTokens: 9, temperature: 0 };
  const { code, out, err, received } = await ask('hi', hello, options);
  expect({ code, out, err }).toEqual({ code: ASK_EXIT.ok, out: 'Hello\n', err: '' });
  expect(received[0]).toMatchObject({
    headers: { authorization: 'Bearer k-123' },
    body: { model: 'fast', max_tokens: 9, temperature: 0, stream: true },
  });
});

test('does not end a line that is ended', async () => {
  expect(await ask('hi', sse(delta('done\n'), done))).toMatchObject({ out: 'done\n' });
});

test('shows each piece before the next one is sent', async () => {
  const stdout = new Sink();
  const shown = once(stdout, 'text');
  const { out } = await ask(
    'hi',
    async (response) => {
      openSse(response);
      response.write(delta('one'));
      await shown;
      response.end(delta(' two') + done);
    },
    { stdout },
  );
  expect(out).toBe('one two\n');
});

describe('the prompt', () => {
  const piped = (...chunks: (string | Uint8Array)[]): PromptInput =>
    Readable.from(chunks, { objectMode: true });
  const promptOf = ({ received }: { received: FakeServer['received'] }) =>
    (received[0]!.body['messages'] as { content: string }[]).at(-1)?.content;

  test.each(['-', undefined])(
    'given as %s comes from a piped stdin, without its last line break',
    async (prompt) => {
      const llama = Buffer.from('a 🦙\nb\n');
      const stdin = piped(llama.subarray(0, 4), llama.subarray(4));
      expect(promptOf(await ask(prompt, hello, { stdin }))).toBe('a 🦙\nb');
    },
  );

  test('given as - is read from a terminal too', async () => {
    const stdin = Object.assign(piped('typed'), { isTTY: true });
    expect(promptOf(await ask('-', hello, { stdin }))).toBe('typed');
  });

  test('given as text leaves stdin alone', async () => {
    expect(promptOf(await ask('text', hello, { stdin: piped('other') }))).toBe('text');
  });

  test.each([
    ['none on a terminal', undefined, terminal(), 'lmserv ask: pass a prompt, or - to read it from stdin\n'],
    ['an empty stdin', undefined, piped(), 'lmserv ask: the prompt is empty\n'],
    ['blanks', '  ', terminal(), 'lmserv ask: the prompt is empty\n'],
  ])('missing: %s', async (_name, prompt, stdin, err) => {
    const result = await ask(prompt, hello, { stdin });
    expect(result).toEqual({ code: ASK_EXIT.usage, out: '', err, received: [] });
  });
});

describe('failures are one line on stderr', () => {
  test('no server: says what to start', async () => {
    const url = await deadUrl();
    expect(await askAt(url, 'hi')).toEqual({
      code: ASK_EXIT.failed,
      out: '',
      err: `lmserv ask: no answer from ${url} (ECONNREFUSED); start a server with "lmserv serve", or set LLM_BASE_URL to the address of a running server\n`,
    });
  });

  test('the fallback of the library is not asked, whatever the environment says', async () => {
    const result = await askAt(await deadUrl(), 'hi', { env: { LLM_PROVIDER_FALLBACK: 'stub' } });
    expect(result).toMatchObject({ code: ASK_EXIT.failed, out: '' });
  });

  test.each([
    [401, {}, 'Bad API key; set LLM_API_KEY to a key of this server (request req-1)'],
    [429, { 'retry-after': '7' }, 'Bad API key; try again in 7 s (request req-1)'],
    [503, { 'retry-after': '1' }, 'Bad API key; try again in 1 s (request req-1)'],
    [400, {}, 'Bad API key (request req-1)'],
  ])('status %i', async (status, headers, line) => {
    const answer = json(status, errorBody('x', 'Bad API key'), headers);
    const { code, out, err } = await ask('hi', answer);
    expect({ code, out, err }).toEqual({ code: ASK_EXIT.failed, out: '', err: `lmserv ask: ${line}\n` });
  });

  test('a broken stream shows what came, on a line of its own, and exits 1', async () => {
    expect(await ask('hi', cutAfter(delta('par')))).toMatchObject({
      code: ASK_EXIT.failed,
      out: 'par\n',
      err: 'lmserv ask: the reply is incomplete: the stream ended before the answer was whole (request req-1)\n',
    });
  });

  test('an error event', async () => {
    const { code, err } = await ask('hi', sse(delta('par'), event(errorBody('lost', 'It broke'))));
    expect(code).toBe(ASK_EXIT.failed);
    expect(err).toBe('lmserv ask: the reply is incomplete: It broke (request req-1)\n');
  });

  test('an answer that hit its limit says so', async () => {
    const { code, out, err } = await ask('hi', sse(delta('cut sho'), finish('length'), done));
    expect({ code, out }).toEqual({ code: ASK_EXIT.ok, out: 'cut sho\n' });
    expect(err).toBe('lmserv ask: the reply ended early: finish_reason length\n');
  });

  test.each([
    [{ env: { LLM_PROVIDER: 'cloud' } }, 'provider'],
    [{ env: { LLM_TIMEOUT_SECS: 'x' } }, 'LLM_TIMEOUT_SECS'],
    [{ maxTokens: 0 }, 'maxTokens'],
  ])('a bad option: %j', async (options, name) => {
    const { code, err, received } = await ask('hi', hello, options);
    expect(code).toBe(ASK_EXIT.usage);
    expect(err).toMatch(new RegExp(`^lmserv ask: .*${name}.*\n$`));
    expect(received).toEqual([]);
  });
});

describe('Ctrl-C', () => {
  test('within the answer ends the line, says nothing and frees the server', async () => {
    const controller = new AbortController();
    const stdout = new Sink();
    stdout.once('text', () => controller.abort());
    let closed: Promise<unknown> = Promise.resolve();
    const result = await ask(
      'hi',
      (response) => {
        closed = once(response, 'close');
        openSse(response);
        response.write(delta('one'));
      },
      { stdout, signal: controller.signal },
    );
    expect(result).toMatchObject({ code: ASK_EXIT.interrupted, out: 'one\n', err: '' });
    await closed;
  });

  test('while the server thinks', async () => {
    const controller = new AbortController();
    const result = await ask('hi', () => controller.abort(), { signal: controller.signal });
    expect(result).toMatchObject({ code: ASK_EXIT.interrupted, out: '', err: '' });
  });

  test('while the prompt is typed lets go of stdin', async () => {
    const controller = new AbortController();
    const stdin = new PassThrough();
    const closed = once(stdin, 'close').catch(() => undefined);
    const pending = ask('-', hello, { stdin, signal: controller.signal });
    controller.abort();
    expect(await pending).toMatchObject({ code: ASK_EXIT.interrupted, out: '', err: '', received: [] });
    await closed;
    expect(stdin.destroyed).toBe(true);
  });

  test('while the output is stuck', async () => {
    const controller = new AbortController();
    const stdout = new Sink();
    stdout._write = () => controller.abort();
    const result = await ask('hi', hello, { stdout, signal: controller.signal });
    expect(result).toMatchObject({ code: ASK_EXIT.interrupted, err: '' });
  });
});

test('a reader that has gone ends it quietly', async () => {
  const stdout = new Sink();
  stdout._write = (_chunk, _encoding, next: (error?: Error) => void) => next(new Error('EPIPE'));
  expect(await ask('hi', hello, { stdout })).toMatchObject({ code: ASK_EXIT.outputClosed, err: '' });
});

test('a terminal gets no control characters, a pipe gets the answer as it is', async () => {
  const answer = sse(delta('a\u001b]0;title\u0007b\tc\r\n\u009b2Jd'), done);
  const stdout = Object.assign(new Sink(), { isTTY: true });
  expect(await ask('hi', answer, { stdout })).toMatchObject({ out: 'a]0;titleb\tc\n2Jd\n' });
  expect(await ask('hi', answer)).toMatchObject({ out: 'a\u001b]0;title\u0007b\tc\r\n\u009b2Jd\n' });
});

describe('which server', () => {
  test('without LLM_BASE_URL the one of this machine, by its own variables', () => {
    expect(clientOptionsForAsk({})).toMatchObject({ baseUrl: 'http://localhost:8000', apiKey: 'changeme' });
    expect(clientOptionsForAsk({ HOST: '10.0.0.5', PORT: '9000', API_KEY: 'mine' })).toMatchObject({
      baseUrl: 'http://10.0.0.5:9000',
      apiKey: 'mine',
    });
    expect(clientOptionsForAsk({ HOST: '0.0.0.0', PORT: '0', API_KEY: '' })).toMatchObject({
      baseUrl: 'http://127.0.0.1:8000',
      apiKey: '',
    });
    expect(clientOptionsForAsk({ HOST: '::1' }).baseUrl).toBe('http://[::1]:8000');
    expect(clientOptionsForAsk({ HOST: '::' }).baseUrl).toBe('http://[::1]:8000');
    expect(clientOptionsForAsk({ API_KEY: 'server', LLM_API_KEY: 'client' }).apiKey).toBe('client');
  });

  test("the server's own key goes to no other server", () => {
    for (const named of [
      { LLM_BASE_URL: 'http://box:8000' },
      { LLM_URL: 'http://box:8000/llm' },
      { LLM_PROVIDER: 'openai' },
    ]) {
      expect(clientOptionsForAsk({ ...named, API_KEY: 'server' }).apiKey).toBeUndefined();
    }
  });
});
