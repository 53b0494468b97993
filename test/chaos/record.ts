import { ChaosError } from './errors.js';
import { exchange, type Target } from './exchange.js';
import { questionCall } from './plan.js';
import { References } from './references.js';
import { REFERENCE_ROUTES, type Form } from './routes.js';

/** A longer reply is no answer but rambling, characters; the stories have up to 1,200. */
const LONGEST = 1_400;

export interface Recording {
  readonly references: References;
  /** The questions that were answered in every form. */
  readonly questions: readonly string[];
}

interface RecordOptions {
  readonly target: Target;
  readonly questions: readonly string[];
  readonly maxTokens: number;
  /** Requests at a time: one a worker, so that nothing waits. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
}

/** Asks every question in every form before anything is broken. @throws ChaosError when one is not answered. */
export async function recordReplies(options: RecordOptions): Promise<Recording> {
  const references = new References();
  const kept: string[] = [];
  const left = [...options.questions];
  const next = async (): Promise<void> => {
    for (let question = left.shift(); question !== undefined; question = left.shift()) {
      options.signal.throwIfAborted();
      if (await recordQuestion(question, references, options)) kept.push(question);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, next));
  // In the order they were given, not the one in which they were answered.
  const questions = options.questions.filter((question) => kept.includes(question));
  if (questions.length === 0) throw new ChaosError('the model has answered none of the questions');
  return { references, questions };
}

async function recordQuestion(question: string, references: References, options: RecordOptions) {
  const texts: [Form, string][] = [];
  for (const form of Object.keys(REFERENCE_ROUTES) as Form[])
    texts.push([form, await undisturbed(form, question, options)]);
  if (texts.some(([, text]) => text === '' || text.length > LONGEST)) return false;
  for (const [form, text] of texts) references.add(form, question, text);
  return true;
}

async function undisturbed(form: Form, question: string, { target, maxTokens }: RecordOptions) {
  const route = REFERENCE_ROUTES[form];
  const seen = await exchange(target, questionCall(route, question, maxTokens));
  const reply = seen.status === 200 ? route.read(seen) : undefined;
  if (reply?.end === 'whole') return reply.text;
  throw new ChaosError(`the undisturbed server did not answer ${route.path}: status ${seen.status}`);
}
