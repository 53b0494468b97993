/** The types of values in variables and the configuration file, each with one message that states the rule. */

import { z } from 'zod';

export const int = (min: number, max: number) => {
  const rule = `must be a whole number from ${min} to ${max}`;
  return z.int(rule).min(min, rule).max(max, rule);
};

export const text = z.string('must be a text').min(1, 'must not be empty');

export const list = <T extends z.ZodType>(item: T) => z.array(item, 'must be a list');

/** More than a day is probably a mistake, and timers would eventually overflow. */
const SECONDS_RULE = 'must be a number of seconds, more than 0 and at most 86400';
export const seconds = z.number(SECONDS_RULE).gt(0, SECONDS_RULE).max(86_400, SECONDS_RULE);

export const secondsFrom = (min: number, max: number) => {
  const rule = `must be a number of seconds from ${min} to ${max}`;
  return z.number(rule).min(min, rule).max(max, rule);
};

export const numberFrom = (min: number, max: number) => {
  const rule = `must be a number from ${min} to ${max}`;
  return z.number(rule).min(min, rule).max(max, rule);
};

export const oneOf = <const T extends readonly string[]>(...values: T) =>
  z.enum(values, `must be one of: ${values.join(', ')}`);

const NAME_RULE = 'must be 1 to 128 letters, digits or . _ - : / @ and begin with a letter or digit';

/** The name of a model, remote, group or alias, which clients send as `model`. */
export const name = z.string(NAME_RULE).regex(/^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$/, NAME_RULE);

/** A key pasted here by mistake has a hyphen or lower-case letters; its value is never shown. */
const VARIABLE_RULE =
  'must be the name of an environment variable such as OPENAI_API_KEY, not the key itself';
export const variable = z.string(VARIABLE_RULE).regex(/^[A-Z_][A-Z0-9_]{0,127}$/, VARIABLE_RULE);

const URL_RULE = 'must be an http: or https: URL without user, query or fragment';

/** The URL of a server, without credentials because those would end up in logs. */
export const serverUrl = z.string(URL_RULE).refine(isPlainUrl, URL_RULE);

function isPlainUrl(value: string): boolean {
  if (!URL.canParse(value) || value.includes('?') || value.includes('#')) return false;
  const { protocol, username, password } = new URL(value);
  return ['http:', 'https:'].includes(protocol) && username === '' && password === '';
}
