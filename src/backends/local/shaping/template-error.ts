import { LMServError } from '../../../errors.js';

/** Max characters of a template's sentence that are passed on. */
const MAX_SENTENCE = 300;

const UNSAID = 'it cannot render this conversation';

/**
 * What a chat template says when it refuses a conversation: its own sentence, without the source and the trace that
 * llama.cpp puts around it. Undefined if the error is not a template's.
 */
export function templateSentence(message: string): string | undefined {
  if (!/While executing \w+ at |Error executing \w+ at position |Jinja Exception: /.test(message))
    return undefined;
  const raised = /.*Jinja Exception: ([^\n]+)/s.exec(message)?.[1]?.trim();
  return raised ? raised.slice(0, MAX_SENTENCE) : UNSAID;
}

/** The error for a conversation that a chat template refused; undefined if `cause` is something else. */
export function templateRefusal(cause: Error): LMServError | undefined {
  const sentence = templateSentence(cause.message);
  if (sentence === undefined) return undefined;
  const message = `messages: the chat template of this model says: ${sentence}`;
  return new LMServError('invalid_value', message, { param: 'messages', cause });
}

/** Whether llama.cpp gave up a reply because it does not have the form that the template's handler reads. */
export function isMismatch(message: string): boolean {
  return /does not match the expected \S+ format|^Invalid diff: /.test(message);
}
