import { isObject, jsonOrText } from '../../wire/json-shape.js';

/** What a provider says in an error, whatever its form. */
export interface ProviderError {
  /** Its words, as it sent them; empty if there are none. */
  readonly words: string;
  /** Codes and types. */
  readonly tags: readonly string[];
  /** An HTTP status that the body gives. */
  readonly status: number | undefined;
  /** Paths of fields that it names as such, as in `response_format.json_schema`. */
  readonly fields: readonly string[];
}

/** Levels of a body that are read; errors of gateways contain those of their providers. */
const MAX_NESTING = 8;

/** Items of a list that are read. */
const MAX_ITEMS = 8;

/** Max characters of the words, before they are cleaned. */
const MAX_WORDS = 16 * 1024;

/** Fields that hold the words, or an object with more of them. */
const WORDS = [
  ...['error', 'errors', 'message', 'msg', 'detail', 'details', 'description', 'reason'],
  ...['error_description', 'error_message', 'error_msg'],
  // MiniMax; OpenRouter: the provider's own error; Google.
  ...['base_resp', 'status_msg', 'metadata', 'raw', 'fieldViolations'],
];

const TAGS = ['type', 'code', 'status', 'error_type', 'reason'] as const;
const STATUSES = ['code', 'status', 'status_code', 'statusCode'] as const;

/** Reads the body of an error, or an error inside a reply. Pure; linear in the size of the body. */
export function readProviderError(body: unknown): ProviderError {
  const found: Found = { words: [], tags: [], status: undefined, fields: [] };
  // A server may send even a refusal as an event.
  read(typeof body === 'string' ? jsonOrText(body.trim().replace(/^data:\s*/, '')) : body, found, 0);
  const words = [...new Set(found.words)].join('; ').slice(0, MAX_WORDS);
  return { words, tags: found.tags, status: found.status, fields: found.fields };
}

interface Found {
  readonly words: string[];
  readonly tags: string[];
  status: number | undefined;
  readonly fields: string[];
}

function read(value: unknown, found: Found, nesting: number): void {
  if (nesting > MAX_NESTING) return;
  if (typeof value === 'string') readText(value.trim(), found, nesting);
  else if (Array.isArray(value)) value.slice(0, MAX_ITEMS).forEach((item) => read(item, found, nesting + 1));
  else if (isObject(value)) readObject(value, found, nesting);
}

/** A text, which may be the JSON of another error. A proxy's HTML page is of no use to a client. */
function readText(text: string, found: Found, nesting: number): void {
  const inner = nesting > 0 && text.startsWith('{') ? jsonOrText(text) : text;
  if (typeof inner !== 'string') read(inner, found, nesting + 1);
  else if (text !== '' && !text.startsWith('<')) found.words.push(text);
}

function readObject(value: Record<string, unknown>, found: Found, nesting: number): void {
  for (const name of TAGS) if (isText(value[name])) found.tags.push(value[name]);
  for (const name of STATUSES) found.status ??= readStatus(value[name]);
  if (isText(value.param)) found.fields.push(value.param);
  if (isText(value.field)) found.fields.push(value.field);
  if (Array.isArray(value.loc)) return readLocation(value.loc, value.msg, found);
  for (const name of WORDS) if (value[name] !== undefined) read(value[name], found, nesting + 1);
}

/** FastAPI's form: `{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}`. */
function readLocation(loc: readonly unknown[], message: unknown, found: Found): void {
  const steps = loc.filter((step) => typeof step === 'string' || typeof step === 'number');
  const path = (steps[0] === 'body' ? steps.slice(1) : steps).join('.');
  if (path !== '') found.fields.push(path);
  const words = isText(message) ? message : '';
  found.words.push(path === '' ? words : `${path}: ${words}`);
}

function readStatus(raw: unknown): number | undefined {
  const status = typeof raw === 'string' && /^\d{3}$/.test(raw) ? Number(raw) : raw;
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) < 600
    ? (status as number)
    : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
