/** A binary heap whose items may change rank and be deleted from the middle; each operation is logarithmic. Pure. */
export class Heap<T> {
  readonly #isBefore: (a: T, b: T) => boolean;
  readonly #items: T[] = [];
  readonly #places = new Map<T, number>();

  /** @param isBefore whether `a` ranks before `b`; two items never rank equally. */
  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  /** The first item in rank. */
  get first(): T | undefined {
    return this.#items[0];
  }

  /** Adds an item, or updates the place of one whose rank has changed. */
  put(item: T): void {
    const place = this.#places.get(item) ?? this.#items.length;
    this.#set(place, item);
    this.#sink(this.#rise(place));
  }

  /** Deletes an item; does nothing if it is not in the heap. */
  delete(item: T): void {
    const place = this.#places.get(item);
    if (place === undefined) return;
    this.#places.delete(item);
    const last = this.#items.pop()!;
    if (last === item) return;
    this.#set(place, last);
    this.#sink(this.#rise(place));
  }

  #rise(place: number): number {
    const item = this.#items[place]!;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (!this.#isBefore(item, this.#items[above]!)) break;
      this.#set(place, this.#items[above]!);
      place = above;
    }
    this.#set(place, item);
    return place;
  }

  #sink(place: number): void {
    const item = this.#items[place]!;
    for (;;) {
      const left = 2 * place + 1;
      const below = this.#isBeforeAt(left + 1, left) ? left + 1 : left;
      if (below >= this.#items.length || !this.#isBefore(this.#items[below]!, item)) break;
      this.#set(place, this.#items[below]!);
      place = below;
    }
    this.#set(place, item);
  }

  #isBeforeAt(a: number, b: number): boolean {
    return a < this.#items.length && this.#isBefore(this.#items[a]!, this.#items[b]!);
  }

  #set(place: number, item: T): void {
    this.#items[place] = item;
    this.#places.set(item, place);
  }
}
