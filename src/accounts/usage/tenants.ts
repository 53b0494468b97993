/** Which tenants a key may charge, and whose usage it may read. Pure. */

import type { Caller } from '../../contract.js';
import { LMServError } from '../../errors.js';

const MAX_LENGTH = 128;

/** Control characters, unpaired surrogates, line separators, and characters that change the direction of text. */
const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u;

/**
 * The tenant that pays for a request: the client's `tenant_id`, or the key's name without one.
 *
 * @throws LMServError `invalid_value` for a bad name, `forbidden` for a tenant that the key may not charge.
 */
export function payingTenant(caller: Caller, tenantId: unknown): string {
  if (tenantId === undefined || tenantId === null) return caller.name;
  const tenant = parseTenant(tenantId, 'tenant_id');
  if (mayUse(caller, tenant)) return tenant;
  throw new LMServError('forbidden', 'This key may not charge that tenant', { param: 'tenant_id' });
}

/**
 * The tenants whose usage a report shows; undefined means all, which is for admins only. By default, a key sees the
 * tenants it lists; a key that may charge any tenant sees its own name.
 *
 * @param requested the query's `tenant`, given once or several times.
 * @throws LMServError `invalid_value`, `forbidden`.
 */
export function readableTenants(caller: Caller, requested: unknown): readonly string[] | undefined {
  if (requested === undefined) return caller.admin ? undefined : (caller.tenants ?? [caller.name]);
  const names = Array.isArray(requested) ? requested : [requested];
  const tenants = names.map((name) => parseTenant(name, 'tenant'));
  if (tenants.every((tenant) => mayUse(caller, tenant))) return tenants;
  throw new LMServError('forbidden', 'This key may not read the usage of that tenant', { param: 'tenant' });
}

function mayUse(caller: Caller, tenant: string): boolean {
  return caller.admin || caller.tenants === undefined || caller.tenants.includes(tenant);
}

function parseTenant(value: unknown, param: string): string {
  if (typeof value !== 'string' || value === '' || value.length > MAX_LENGTH || CONTROL.test(value)) {
    throw new LMServError(
      'invalid_value',
      `${param} must be a string of 1 to ${MAX_LENGTH} characters without control characters`,
      { param },
    );
  }
  return value;
}
