import { abortable } from '../../client/abortable.js';
import { InvalidOptionError } from '../../client/errors.js';

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
export async function readPrompt(
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
