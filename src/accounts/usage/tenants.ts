/** Who may spend for which tenant and read whose usage. Pure. */

import type { Caller } from '../../contract.js';
import { LMServError } from '../../errors.js';

const MAX_LENGTH = 128;

/** Control characters, half surrogate pairs, line separators, and what turns the direction of the text around it. */
const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u;

const mayUse = (caller: Caller, tenant: string): boolean =>
  caller.admin || caller.tenants === undefined || caller.tenants.includes(tenant);

function checkedName(value: unknown, param: string): string {
  if (typeof value !== 'string' || value === '' || value.length > MAX_LENGTH || CONTROL.test(value)) {
    throw new LMServError(
      'invalid_value',
      `${param} must be a text of 1 to ${MAX_LENGTH} characters, none of them a control character`,
      { param },
    );
  }
  return value;
}

/**
 * The tenant that pays for a request: `tenant_id` as the client gave it, else the key's name.
 *
 * @throws LMServError `invalid_value` for a bad name, `forbidden` for one this key may not spend for.
 */
export function payingTenant(caller: Caller, tenantId: unknown): string {
  if (tenantId === undefined || tenantId === null) return caller.name;
  const tenant = checkedName(tenantId, 'tenant_id');
  if (mayUse(caller, tenant)) return tenant;
  throw new LMServError('forbidden', 'This key may not spend for that tenant', { param: 'tenant_id' });
}

/**
 * The tenants whose usage a report shows; undefined means all, which only an admin gets. Without a question a key
 * sees the tenants it names, and one that may spend for any sees its own name.
 *
 * @param asked the query's `tenant`, once or several times.
 * @throws LMServError `invalid_value`, `forbidden`.
 */
export function readableTenants(caller: Caller, asked: unknown): readonly string[] | undefined {
  if (asked === undefined) return caller.admin ? undefined : (caller.tenants ?? [caller.name]);
  const tenants = (Array.isArray(asked) ? asked : [asked]).map((name) => checkedName(name, 'tenant'));
  if (tenants.every((tenant) => mayUse(caller, tenant))) return tenants;
  throw new LMServError('forbidden', 'This key may not read the usage of that tenant', { param: 'tenant' });
}
