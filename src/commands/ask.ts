/** `lmserv ask`: sends one prompt to a running server and streams the reply to the terminal. */

import { pieces, checkOptions, makePlan, type Plan } from '../client/client.js';
import { type Env, optionsFromEnv } from '../client/target.js';
import {
  InvalidOptionError,
  AuthenticationError,
  BrokenStreamError,
  ConnectionError,
  LLMClientError,
} from '../client/errors.js';
import type { ClientOptions, Target } from '../client/types.js';
import { abortable } from '../client/http.js';
import { DEFAULT_KEY, DEFAULT_PORT, processEnv, readAddress } from '../config/load.js';
import { connectUrl } from '../wire/address.js';

export interface AskOptions {
  readonly model?: string | undefined;
  readonly system?: string | undefined;
  /** Tokens to generate at most. */
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  /** Aborted at Ctrl-C by whoever owns the process. */
  readonly signal?: AbortSignal | undefined;
  /** The three below are the process's own by default, and `env` its environment with the additions of `.env`. */
  readonly stdin?: PromptInput | undefined;
  readonly stdout?: ReplyOutput | undefined;
  readonly stderr?: { write(text: string): unknown } | undefined;
  readonly env?: Env | undefined;
}

/** What the process should exit with. */
export const ASK_EXIT = {
  /** The whole reply was written. */
  ok: 0,
  /** The server failed, or the reply is incomplete. */
  failed: 1,
  /** No prompt, or an invalid option. */
  usage: 2,
  /** Stopped by the signal, as a shell counts SIGINT. */
  interrupted: 130,
  /** The reader of our output has closed it, as a shell counts SIGPIPE. */
  outputClosed: 141,
} as const;

/**
 * Sends the prompt and streams the reply to stdout; every failure is one line on stderr. The prompt comes from stdin when it is
 * `-`, or left out while stdin is piped. There is no fallback: a canned text that looks like a reply would be a lie.
 *
 * @returns the exit code, one of `ASK_EXIT`; it never rejects.
 */
export async function runAsk(prompt: string | undefined, options: AskOptions = {}): Promise<number> {
  const { stdin = process.stdin, stdout = process.stdout, stderr = process.stderr } = options;
  const { env = processEnv(), signal } = options;
  const report = (message: string): void => void stderr.write(`lmserv ask: ${message}\n`);
  const writer = new ReplyWriter(stdout, signal);
  let plan: Plan | undefined;
  try {
    const client = { ...clientOptionsForAsk(env), warn: report };
    checkOptions(client);
    plan = makePlan(client, await readPrompt(prompt, stdin, signal), options);
    const reason = await writeReply(plan, writer);
    if (reason !== undefined && reason !== 'stop') report(`the reply ended early: finish_reason ${reason}`);
    return ASK_EXIT.ok;
  } catch (failure) {
    if (writer.closed) return ASK_EXIT.outputClosed;
    await writer.end().catch(() => undefined);
    if (signal?.aborted) return ASK_EXIT.interrupted;
    report(explain(failure, plan?.first));
    return failure instanceof InvalidOptionError ? ASK_EXIT.usage : ASK_EXIT.failed;
  }
}

/** Returns the finish reason, where the server gave one. */
async function writeReply(plan: Plan, writer: ReplyWriter): Promise<string | undefined> {
  let reason: string | undefined;
  for await (const piece of pieces(plan)) {
    reason = piece.finishReason ?? reason;
    await writer.write(piece.text);
  }
  await writer.end();
  return reason;
}

/**
 * As the client library reads the LLM_* variables, without a fallback. Where they name no server, it is the one of this
 * machine: HOST, PORT and API_KEY are then the server's own variables, also in its `.env`.
 */
export function clientOptionsForAsk(env: Env): ClientOptions {
  const options = { ...optionsFromEnv(env), fallback: 'none' } as const;
  const elsewhere =
    options.baseUrl !== undefined || options.url !== undefined || options.provider === 'openai';
  if (elsewhere) return options;
  return { ...options, baseUrl: ownServer(env), apiKey: options.apiKey ?? env['API_KEY'] ?? DEFAULT_KEY };
}

function ownServer(env: Env): string {
  const { host = 'localhost', port } = readAddress(env);
  return connectUrl(host, port || DEFAULT_PORT);
}

/** A stdin: the process's own or a test's stream. */
export type PromptInput = AsyncIterable<Uint8Array | string> & {
  readonly isTTY?: boolean;
  destroy?(): unknown;
};

/**
 * The prompt, or all of stdin when it is `-`, or missing while stdin is not a terminal.
 *
 * @throws InvalidOptionError when there is none or it is empty; the signal's reason.
 */
async function readPrompt(
  prompt: string | undefined,
  stdin: PromptInput,
  signal: AbortSignal | undefined,
): Promise<string> {
  if (prompt === undefined && stdin.isTTY) {
    throw new InvalidOptionError('pass a prompt, or - to read it from stdin');
  }
  const text = prompt === undefined || prompt === '-' ? await readAll(stdin, signal) : prompt;
  if (text.trim() === '') throw new InvalidOptionError('the prompt is empty');
  return text;
}

/** UTF-8 text to the end of input, without the line break that `echo` and editors put last. */
async function readAll(stdin: PromptInput, signal: AbortSignal | undefined): Promise<string> {
  try {
    return await abortable(collect(stdin), signal);
  } finally {
    // A pending read would keep the process alive.
    if (signal?.aborted) stdin.destroy?.();
  }
}

async function collect(stdin: PromptInput): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of stdin)
    text += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true });
  return (text + decoder.decode()).replace(/\r?\n$/, '');
}

/** A stdout: the process's own or a test's stream. */
type ReplyOutput = NodeJS.WritableStream & { readonly isTTY?: boolean };

/** Writes a reply's pieces at the pace of the output, and knows whether a line is open. */
class ReplyWriter {
  readonly #out: ReplyOutput;
  readonly #signal: AbortSignal | undefined;
  #lineOpen = false;
  #closed = false;

  constructor(out: ReplyOutput, signal: AbortSignal | undefined) {
    this.#out = out;
    this.#signal = signal;
    // A reader that went away (`| head -1`) is an error event, which without a listener ends the process with a trace.
    out.on('error', () => {
      this.#closed = true;
    });
  }

  /** Nobody reads the output any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @throws when the output is closed; the signal's reason when it aborts while the output is stuck. */
  async write(text: string): Promise<void> {
    const shown = this.#out.isTTY ? withoutControls(text) : text;
    if (shown === '') return;
    this.#lineOpen = !shown.endsWith('\n');
    await abortable(this.#flush(shown), this.#signal);
  }

  /** Ends the open line, so that a prompt or a message begins on its own. */
  async end(): Promise<void> {
    if (!this.#lineOpen) return;
    this.#lineOpen = false;
    // Also after an abort; then without waiting for an output that may be stuck.
    const flushed = this.#flush('\n');
    if (this.#signal?.aborted) flushed.catch(() => undefined);
    else await flushed;
  }

  #flush(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#out.write(text, (error) => {
        if (!error) return resolve();
        this.#closed = true;
        reject(error);
      });
    });
  }
}

/** A model's output is not trusted: escape sequences could rewrite the screen or the window's title. */
function withoutControls(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '');
}

/** One line that says what went wrong and, where we know it, what to do. */
function explain(failure: unknown, target: Target | undefined): string {
  if (!(failure instanceof LLMClientError))
    return failure instanceof Error ? failure.message : 'internal error';
  const id = failure.requestId === undefined ? '' : ` (request ${failure.requestId})`;
  return `${what(failure)}${remedy(failure, target)}${id}`;
}

function what(failure: LLMClientError): string {
  return failure instanceof BrokenStreamError
    ? `the reply is incomplete: ${failure.message}`
    : failure.message;
}

function remedy(failure: LLMClientError, target: Target | undefined): string {
  if (failure instanceof AuthenticationError) return '; set LLM_API_KEY to a key of this server';
  if (
    failure instanceof ConnectionError &&
    failure.code === 'ECONNREFUSED' &&
    target?.provider !== 'openai'
  ) {
    return '; start a server with "lmserv serve", or set LLM_BASE_URL to the address of a running server';
  }
  const seconds = 'retryAfter' in failure ? failure.retryAfter : undefined;
  return typeof seconds === 'number' ? `; try again in ${Math.ceil(seconds)} s` : '';
}
