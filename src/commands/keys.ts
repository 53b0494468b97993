import type { Command } from 'commander';
import { addKey, formatAddedKey, formatKeys, listKeys, revokeKey } from '../accounts/keys/manage.js';
import { compact } from '../compact.js';
import { numberArgument } from './number-argument.js';

interface AddOptions {
  readonly tenant: string[];
  readonly admin?: boolean;
  readonly qps?: number;
  readonly budgetDay?: number;
  readonly budgetMonth?: number;
}

const amount = numberArgument({ min: 0 });

/** `lmserv keys add|list|revoke` on the file named by API_KEYS_FILE. */
export function addKeysCommand(
  program: Command,
  keysFile: () => string,
  print: (text: string) => void,
): void {
  const keys = program.command('keys').description('manage the keys in API_KEYS_FILE');
  keys
    .command('add <name>')
    .description('create a key; it is shown once, and only its hash is kept')
    .option(
      '--tenant <name>',
      'a tenant whose budget it may use and whose usage it may read; repeatable',
      collect,
      [],
    )
    .option('--admin', 'may read all usage and use the routes for operators')
    .option('--qps <number>', 'its own rate limit, requests per second', amount)
    .option('--budget-day <amount>', 'budget per day', amount)
    .option('--budget-month <amount>', 'budget per month', amount)
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
    .description('revoke a key; its next request is refused')
    .action(async (name: string) => {
      await revokeKey(keysFile(), name);
      print(`Revoked ${name}.`);
    });
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function fields({ tenant, admin, qps, budgetDay, budgetMonth }: AddOptions) {
  const budget = compact({ day: budgetDay, month: budgetMonth });
  return {
    tenants: tenant.length > 0 ? tenant : undefined,
    admin,
    rateLimitQps: qps,
    budget: Object.keys(budget).length > 0 ? budget : undefined,
  };
}
