/** What a list holds: an item knows its neighbours, so that it leaves from the middle at no cost. */
export interface Linked<T> {
  before?: T | undefined;
  after?: T | undefined;
}

/** Items in the order in which they came. An item is in one list at a time. */
export class LinkedList<T extends Linked<T>> {
  #first: T | undefined;
  #last: T | undefined;

  get first(): T | undefined {
    return this.#first;
  }

  get last(): T | undefined {
    return this.#last;
  }

  push(item: T): void {
    item.before = this.#last;
    item.after = undefined;
    if (this.#last) this.#last.after = item;
    else this.#first = item;
    this.#last = item;
  }

  delete(item: T): void {
    if (item.before) item.before.after = item.after;
    else this.#first = item.after;
    if (item.after) item.after.before = item.before;
    else this.#last = item.before;
  }
}
