import { describe, expect, test } from '@jest/globals';
import type { Caller } from '../../../../src/contract.js';
import { payingTenant, readableTenants } from '../../../../src/accounts/usage/tenants.js';

const admin: Caller = { name: 'root', admin: true };
const bound: Caller = { name: 'shop', admin: false, tenants: ['shop', 'acme'] };
const free: Caller = { name: 'gateway', admin: false };

describe('payingTenant', () => {
  test('returns the key’s name unless the request names a tenant', () => {
    expect([admin, bound, free].map((caller) => payingTenant(caller, undefined))).toEqual([
      'root',
      'shop',
      'gateway',
    ]);
    expect(payingTenant(bound, null)).toBe('shop');
    expect([admin, bound, free].map((caller) => payingTenant(caller, 'acme'))).toEqual([
      'acme',
      'acme',
      'acme',
    ]);
  });

  test('refuses a tenant that the key does not list', () => {
    expect(() => payingTenant(bound, 'zeta')).toThrow(
      expect.objectContaining({ status: 403, param: 'tenant_id' }),
    );
  });

  test.each(['', 'x'.repeat(129), 'a\nb', 'a\u0000', 'a\ud800', 'a\u202eb', 'a\u2028', 7, {}, ['acme']])(
    'is no tenant: %j',
    (tenant) => {
      expect(() => payingTenant(admin, tenant)).toThrow(
        expect.objectContaining({ status: 400, param: 'tenant_id' }),
      );
    },
  );
});

describe('readableTenants', () => {
  test('by default returns all tenants for an admin and a key’s own for others', () => {
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
