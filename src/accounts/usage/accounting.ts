import { setImmediate } from 'node:timers/promises';
import type { Caller, Outcome, Price, Trace } from '../../contract.js';
import { checkBudget, budgetError, type Budget } from './budget.js';
import { costNano } from './money.js';
import { usageFormat, usageRange, usageText } from './report.js';
import type { UsageStore } from './store.js';
import { payingTenant, readableTenants } from './tenants.js';

export interface AccountingOptions {
  readonly store: UsageStore;
  readonly tenantBudget: (tenant: string) => Budget | undefined;
  readonly keyBudget: (key: string) => Budget | undefined;
  /** The price of a model; undefined means free. */
  readonly priceOf: (model: string) => Price | undefined;
}

/** A usage report, ready to be sent. */
export interface UsageReply {
  readonly contentType: string;
  readonly pieces: AsyncIterable<string>;
}

const FREE: Price = { promptPer1k: 0, completionPer1k: 0 };

/** Checks budgets before a request and records its usage afterwards. */
export class Accounting {
  readonly #options: AccountingOptions;
  /** Resolves when the next piece of a report may be read; all reports take turns. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: AccountingOptions) {
    this.#options = options;
  }

  /**
   * Returns the tenant that pays for a request.
   *
   * @throws LMServError `forbidden` when the key may not use that tenant, `budget_exceeded` when the tenant's or the
   *   key's budget is used up.
   */
  admit(caller: Caller, tenantId: string | undefined): string {
    const { store, tenantBudget, keyBudget } = this.#options;
    const tenant = payingTenant(caller, tenantId);
    const accounts = [
      { kind: 'tenant', name: tenant, budget: tenantBudget(tenant) },
      { kind: 'key', name: caller.name, budget: keyBudget(caller.name) },
    ] as const;
    for (const { kind, name, budget } of accounts) {
      const exceeded = budget && checkBudget(budget, store.spent(kind, name), Date.now());
      if (exceeded) throw budgetError(exceeded);
    }
    return tenant;
  }

  /** Counts a request that has ended. Call it once per request; a request that reached no model is not counted. */
  record(tenant: string, caller: Caller, trace: Readonly<Trace>, outcome: Outcome): void {
    if (trace.model === undefined) return;
    const { promptTokens, completionTokens, model } = trace;
    this.#options.store.record({
      tenant,
      key: caller.name,
      model,
      promptTokens,
      completionTokens,
      costNano: costNano({ promptTokens, completionTokens }, this.#options.priceOf(model) ?? FREE),
      outcome,
    });
  }

  /**
   * The reply to `GET /usage?tenant=&from=&to=&format=json|csv`, in pieces. Between any two pieces of all reports, the
   * event loop gets a turn. The first piece has been read when the promise resolves.
   *
   * @throws LMServError `invalid_value`, `forbidden`; SQLite's errors.
   */
  async report(caller: Caller, query: Readonly<Record<string, unknown>>): Promise<UsageReply> {
    const tenants = readableTenants(caller, query.tenant);
    const filter = { ...usageRange(query), ...(tenants ? { tenants } : {}) };
    const format = usageFormat(query.format);
    await this.#nextTurn();
    const text = usageText(format, this.#options.store.pages(filter));
    const first = text.next();
    return { contentType: CONTENT_TYPES[format], pieces: this.#paced(first, text) };
  }

  async *#paced(first: IteratorResult<string, void>, text: Generator<string, void>): AsyncGenerator<string> {
    for (let piece = first; !piece.done; piece = text.next()) {
      yield piece.value;
      await this.#nextTurn();
    }
  }

  #nextTurn(): Promise<void> {
    this.#turn = this.#turn.then(() => setImmediate());
    return this.#turn;
  }
}

const CONTENT_TYPES = {
  json: 'application/json; charset=utf-8',
  csv: 'text/csv; charset=utf-8',
};
