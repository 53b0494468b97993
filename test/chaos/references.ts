import type { Form } from './routes.js';

/** Characters of a reply by which it is known: its beginning and its end. */
const MARK = 48;

/** Shorter pieces occur in other replies by chance. */
const SHORTEST_MARK = 12;

interface Known {
  readonly question: string;
  readonly text: string;
}

/** The undisturbed replies: what each question is answered with, and whose a text is. Pure. */
export class References {
  readonly #texts = new Map<string, Known>();
  /** By mark: the questions whose replies have it. */
  readonly #marks = new Map<string, Set<string>>();

  add(form: Form, question: string, text: string): void {
    this.#texts.set(keyOf(form, question), { question, text });
    for (const mark of marksOf(text)) {
      const owners = this.#marks.get(mark) ?? new Set();
      this.#marks.set(mark, owners.add(question));
    }
  }

  get size(): number {
    return this.#texts.size;
  }

  /** How many replies no other question of their form has. */
  get distinct(): number {
    const forms = new Map<string, number>();
    for (const [key, { text }] of this.#texts) {
      const known = `${key.slice(0, key.indexOf('\n'))}\n${text}`;
      forms.set(known, (forms.get(known) ?? 0) + 1);
    }
    return [...forms.values()].filter((count) => count === 1).length;
  }

  /** @throws when the question has not been recorded. */
  textOf(form: Form, question: string): string {
    return this.#texts.get(keyOf(form, question))!.text;
  }

  /** The other question whose reply shows in this text, where one does. */
  foreignIn(text: string, form: Form, question: string): string | undefined {
    const own = this.textOf(form, question);
    for (const [mark, owners] of this.#marks)
      if (!owners.has(question) && text.includes(mark) && !own.includes(mark)) return [...owners][0];
    return undefined;
  }
}

function keyOf(form: Form, question: string): string {
  return `${form}\n${question}`;
}

function marksOf(text: string): string[] {
  return text.length < SHORTEST_MARK ? [] : [text.slice(0, MARK), text.slice(-MARK)];
}
