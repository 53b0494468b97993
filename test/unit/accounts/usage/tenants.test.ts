import type { Caller } from '../../../../src/contract.js';
import { payingTenant, readableTenants } from '../../../../src/accounts/usage/tenants.js';

const admin: Caller = { name: 'root', admin: true };
const bound: Caller = { name: 'shop', admin: false, tenants: ['shop', 'acme'] };
const free: Caller = { name: 'gateway', admin: false };

describe('payingTenant', () => {
  test('returns the key’s name unless the request names a tenant', () => {
    const payers = (tenant: unknown) => [admin, bound, free].map((caller) => payingTenant(caller, tenant));
    expect(payers(undefined)).toEqual(['root', 'shop', 'gateway']);
    expect(payingTenant(bound, null)).toBe('shop');
    expect(payers('acme')).toEqual(['acme', 'acme', 'acme']);
  });

  const refusal = (status: number) => expect.objectContaining({ status, param: 'tenant_id' });

  test('refuses a tenant that the key does not list', () => {
    expect(() => payingTenant(bound, 'zeta')).toThrow(refusal(403));
  });

  test.each(['', 'x'.repeat(129), 'a\nb', 'a\u0000', 'a\ud800', 'a\u202eb', 'a\u2028', 7, {}, ['acme']])(
    'refuses %j, which is not a valid name',
    (tenant) => expect(() => payingTenant(admin, tenant)).toThrow(refusal(400)),
  );
});

describe('readableTenants', () => {
  test('returns all tenants for an admin and a key’s own for others by default', () => {
    expect(readableTenants(admin, undefined)).toBeUndefined();
    expect(readableTenants(bound, undefined)).toEqual(['shop', 'acme']);
    expect(readableTenants(free, undefined)).toEqual(['gateway']);
  });

  test('returns the requested tenants if the key may read them', () => {
    expect(readableTenants(admin, 'zeta')).toEqual(['zeta']);
    expect(readableTenants(bound, ['acme', 'shop'])).toEqual(['acme', 'shop']);
    expect(() => readableTenants(bound, ['acme', 'zeta'])).toThrow(
      expect.objectContaining({ status: 403, param: 'tenant' }),
    );
    expect(() => readableTenants(admin, { $ne: '' })).toThrow(expect.objectContaining({ status: 400 }));
  });
});
