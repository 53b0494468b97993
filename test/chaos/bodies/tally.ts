/** Counts replies by kind of attempt and status. */
export class Tally {
  readonly #rows = new Map<string, Map<number, number>>();
  total = 0;

  add(kind: string, status: number): void {
    const row = this.#rows.get(kind) ?? new Map<number, number>();
    this.#rows.set(kind, row.set(status, (row.get(status) ?? 0) + 1));
  }

  /** A table for people; status 0 stands for no reply. */
  toString(): string {
    const rows = [...this.#rows].sort(([a], [b]) => a.localeCompare(b));
    const statuses = [...new Set(rows.flatMap(([, row]) => [...row.keys()]))].sort((a, b) => a - b);
    const line = (name: string, cells: (number | string)[]) =>
      name.padEnd(14) + cells.map((cell) => String(cell).padStart(9)).join('');
    const heads = statuses.map((status) => (status === 0 ? 'none' : status));
    const sums = statuses.map((status) => rows.reduce((sum, [, row]) => sum + (row.get(status) ?? 0), 0));
    return [
      line('', heads),
      ...rows.map(([kind, row]) =>
        line(
          kind,
          statuses.map((status) => row.get(status) ?? ''),
        ),
      ),
      line('all', sums),
    ].join('\n');
  }
}
