import { InvalidArgumentError, type Command } from 'commander';
import { addKey, formatAddedKey, formatKeys, listKeys, revokeKey } from '../accounts/keys/manage.js';

interface AddOptions {
  readonly tenant: string[];
  readonly admin?: boolean;
  readonly qps?: number;
  readonly budgetDay?: number;
  readonly budgetMonth?: number;
}

/** `lmserv keys add|list|revoke` on the file of API_KEYS_FILE. */
export function addKeysCommand(
  program: Command,
  keysFile: () => string,
  print: (text: string) => void,
): void {
  const keys = program.command('keys').description('manage the keys in API_KEYS_FILE');
  keys
    .command('add <name>')
    .description('make a key; it is shown once and only its hash is kept')
    .option('--tenant <name>', 'a tenant it may spend for and read; may be repeated', collect, [])
    .option('--admin', 'it may read all usage')
    .option('--qps <number>', 'its own rate limit, requests a second', amount)
    .option('--budget-day <amount>', 'what it may spend a day', amount)
    .option('--budget-month <amount>', 'what it may spend a month', amount)
    .action(async (name: string, options: AddOptions) => {
      const added = await addKey(keysFile(), { name, ...fields(options) });
      print(formatAddedKey(added));
    });
  keys
    .command('list')
    .description('show the keys, without their secrets')
    .action(() => print(formatKeys(listKeys(keysFile()))));
  keys
    .command('revoke <name>')
    .description('take a key away; it stops working at its next request')
    .action(async (name: string) => {
      await revokeKey(keysFile(), name);
      print(`Revoked ${name}.`);
    });
}

function amount(value: string): number {
  const number = value.trim() === '' ? NaN : Number(value);
  if (!Number.isFinite(number) || number < 0)
    throw new InvalidArgumentError('It must be a number, 0 or more.');
  return number;
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function fields({ tenant, admin, qps, budgetDay, budgetMonth }: AddOptions) {
  const budget = {
    ...(budgetDay === undefined ? {} : { day: budgetDay }),
    ...(budgetMonth === undefined ? {} : { month: budgetMonth }),
  };
  return {
    ...(tenant.length > 0 ? { tenants: tenant } : {}),
    ...(admin ? { admin } : {}),
    ...(qps === undefined ? {} : { rateLimitQps: qps }),
    ...(Object.keys(budget).length > 0 ? { budget } : {}),
  };
}
