/** `lmserv ask`: sends one prompt to a running server and streams the reply to the terminal. */

import { pieces } from '../../client/answer.js';
import { clientOptionsForAsk } from './env.js';
import { readPrompt } from './prompt.js';
import type { PromptInput } from './prompt.js';
import { explain } from './explain.js';
import { AnswerWriter } from './writer.js';
import type { AnswerOutput } from './writer.js';
import { ambientEnv } from '../../client/env.js';
import type { Env } from '../../client/env.js';
import { InvalidOptionError } from '../../client/errors.js';
import { checkOptions, makePlan } from '../../client/plan.js';
import type { Plan } from '../../client/plan.js';

export interface AskOptions {
  readonly model?: string | undefined;
  readonly system?: string | undefined;
  /** Tokens to generate at most. */
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  /** Aborted at Ctrl-C by whoever owns the process. */
  readonly signal?: AbortSignal | undefined;
  /** The four below are the process's own by default. */
  readonly stdin?: PromptInput | undefined;
  readonly stdout?: AnswerOutput | undefined;
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
  const { env = ambientEnv(), signal } = options;
  const report = (message: string): void => void stderr.write(`lmserv ask: ${message}\n`);
  const writer = new AnswerWriter(stdout, signal);
  let plan: Plan | undefined;
  try {
    const client = { ...clientOptionsForAsk(env), warn: report };
    checkOptions(client);
    plan = makePlan(client, await readPrompt(prompt, stdin, signal), options);
    const reason = await writeAnswer(plan, writer);
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
async function writeAnswer(plan: Plan, writer: AnswerWriter): Promise<string | undefined> {
  let reason: string | undefined;
  for await (const piece of pieces(plan)) {
    reason = piece.finishReason ?? reason;
    await writer.write(piece.text);
  }
  await writer.end();
  return reason;
}
