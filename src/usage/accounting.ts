import type { Caller, Trace } from '../contract.js';
import { checkBudget, budgetError, type Budget } from './budget.js';
import type { Outcome } from './entry.js';
import { costNano, type Price } from './money.js';
import { usageCsv, usageFormat, usageJson, usageRange } from './report.js';
import type { UsageStore } from './store.js';
import { payingTenant, readableTenants } from './tenants.js';

export interface AccountingOptions {
  readonly store: UsageStore;
  readonly tenantBudget: (tenant: string) => Budget | undefined;
  readonly keyBudget: (key: string) => Budget | undefined;
  /** What a model costs; undefined is free. */
  readonly priceOf: (model: string) => Price | undefined;
}

/** A report as it goes out. */
export interface UsageReply {
  readonly contentType: string;
  readonly body: string;
}

const FREE: Price = { promptPer1k: 0, completionPer1k: 0 };

/** Who pays, whether there is something left, and what it came to: budgets before a request, the table after it. */
export class Accounting {
  constructor(private readonly options: AccountingOptions) {}

  /**
   * The tenant that pays for a request.
   *
   * @throws LMServError `forbidden` for another's tenant, `budget_exceeded` when its budget or the key's is used up.
   */
  admit(caller: Caller, tenantId: string | undefined): string {
    const { store, tenantBudget, keyBudget } = this.options;
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

  /** Counts a request that has ended, once; one that reached no model is not counted. */
  record(tenant: string, caller: Caller, trace: Readonly<Trace>, outcome: Outcome): void {
    if (trace.model === undefined) return;
    const { promptTokens, completionTokens, model } = trace;
    const cost = costNano({ promptTokens, completionTokens }, this.options.priceOf(model) ?? FREE);
    this.options.store.record({
      ...{ tenant, key: caller.name, model, promptTokens, completionTokens, outcome },
      costNano: cost,
    });
  }

  /** Answers `GET /usage?tenant=&from=&to=&format=json|csv`. @throws LMServError `invalid_value`, `forbidden`. */
  report(caller: Caller, query: Readonly<Record<string, unknown>>): UsageReply {
    const tenants = readableTenants(caller, query.tenant);
    const rows = this.options.store.query({ ...usageRange(query), ...(tenants ? { tenants } : {}) });
    if (usageFormat(query.format) === 'csv')
      return { contentType: 'text/csv; charset=utf-8', body: usageCsv(rows) };
    return { contentType: 'application/json; charset=utf-8', body: JSON.stringify(usageJson(rows)) };
  }
}
