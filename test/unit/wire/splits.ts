/** Byte streams cut up for the tests of the codecs. */

export async function* chunks<T>(...parts: T[]): AsyncGenerator<T> {
  yield* parts;
}

/** Every way to cut these bytes in two, then every byte alone; empty parts included. */
export function everySplit(text: string): Uint8Array[][] {
  const bytes = new TextEncoder().encode(text);
  const pairs = Array.from({ length: bytes.length + 1 }, (_, at) => [
    bytes.subarray(0, at),
    bytes.subarray(at),
  ]);
  return [...pairs, Array.from(bytes, (byte) => Uint8Array.of(byte))];
}

/** Every way to cut these bytes in three. */
export function everyTwoSplits(text: string): Uint8Array[][] {
  const bytes = new TextEncoder().encode(text);
  const all: Uint8Array[][] = [];
  for (let first = 0; first <= bytes.length; first += 1) {
    for (let second = first; second <= bytes.length; second += 1) {
      all.push([bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]);
    }
  }
  return all;
}

export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of source) values.push(value);
  return values;
}
