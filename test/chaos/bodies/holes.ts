import { VALID } from './valid.js';

/** A JSON text with one place left open, for any text to stand there. */
export interface Hole {
  readonly route: string;
  readonly before: string;
  readonly after: string;
}

const MARK = '@@hole@@';

/** A value in the place of each value of each valid body. */
export const VALUE_HOLES: readonly Hole[] = VALID.flatMap(({ route, body }) =>
  withMark(body).map((marked) => cut(route, marked, JSON.stringify(MARK))),
);

/** One more member at the start of each object of each valid body: `"key":value,` goes there. */
export const MEMBER_HOLES: readonly Hole[] = VALID.flatMap(({ route, body }) => {
  const text = JSON.stringify(body);
  return [...text.matchAll(/\{(?=")/g)].map(({ index }) => ({
    route,
    before: text.slice(0, index + 1),
    after: text.slice(index + 1),
  }));
});

/** The names of all fields of all valid bodies. */
export const NAMES: readonly string[] = [...new Set(VALID.flatMap(({ body }) => namesOf(body)))];

/** Copies of a value with the mark in the place of one of its parts each. */
function withMark(value: unknown): unknown[] {
  if (value === null || typeof value !== 'object') return [MARK];
  const parts = Object.entries(value).flatMap(([key, part]) =>
    withMark(part).map((marked) => {
      const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<
        string,
        unknown
      >;
      copy[key] = marked;
      return copy;
    }),
  );
  return [MARK, ...parts];
}

function cut(route: string, value: unknown, mark: string): Hole {
  const [before = '', after = ''] = JSON.stringify(value).split(mark);
  return { route, before, after };
}

function namesOf(value: unknown): string[] {
  if (value === null || typeof value !== 'object') return [];
  const names = Array.isArray(value) ? [] : Object.keys(value);
  return [...names, ...Object.values(value).flatMap(namesOf)];
}
