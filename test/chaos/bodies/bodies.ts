import { gzipSync } from 'node:zlib';
import fc from 'fast-check';

interface ValidBody {
  readonly route: string;
  readonly body: object;
}

const user = { role: 'user', content: 'Hi' };
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'f', description: 'Does it', parameters } }];
const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{"city":"Lima"}' } };

/** Every accepted sampling field, with a harmless value. */
// prettier-ignore
const sampling = {
  max_tokens: 1, max_completion_tokens: 1, n_predict: 1, temperature: 0.5, top_p: 0.9, top_k: 5, min_p: 0.1,
  typical_p: 1, top_n_sigma: -1, xtc_probability: 0, xtc_threshold: 0.1, dynatemp_range: 0,
  dynatemp_exponent: 1, repeat_penalty: 1.1, repeat_last_n: 8, frequency_penalty: 0, presence_penalty: 0,
  dry_multiplier: 0, dry_base: 1.75, dry_allowed_length: 2, dry_penalty_last_n: 8, mirostat: 0,
  mirostat_tau: 5, mirostat_eta: 0.1, seed: 7, ignore_eos: false, logit_bias: { '5': 1 }, stop: ['x'],
};

// prettier-ignore
const others = {
  model: 'default', n: 1, stream: true, stream_options: { include_usage: true },
  reasoning_effort: 'low', chat_template_kwargs: { enable_thinking: false },
  id_slot: 0, cache_prompt: false, lora: [], user: 'u', metadata: {},
};

const format = { type: 'json_schema', json_schema: { name: 'n', strict: true, schema: parameters } };
const task = { provider: 'local', model: 'gpt-4o-mini', temperature: 0, max_tokens: 1, priority: 'high' };

// prettier-ignore
const VALID: readonly ValidBody[] = [
  {
    route: '/chat',
    body: {
      prompt: 'Hi', system_prompt: 'Be brief', max_tokens: 1, temperature: 0.5, top_p: 0.9,
      repeat_penalty: 1.1, model: 'default',
    },
  },
  { route: '/llm', body: { prompt: 'Hi', max_tokens: 1, temperature: 0.7, model: 'default' } },
  { route: '/llm', body: { task: 'chat_completion', input: { prompt: 'Hi' }, ...task } },
  { route: '/llm', body: { task: 'parse_price_list', input: { text: 'a 1' }, schema: parameters, ...task } },
  { route: '/v1/chat/completions', body: { messages: [user], ...sampling, ...others } },
  {
    route: '/v1/chat/completions',
    body: {
      messages: [
        { role: 'system', content: [{ type: 'text', text: 'Be brief' }] },
        user,
        { role: 'assistant', content: null, reasoning_content: 'r', tool_calls: [call] },
        { role: 'tool', tool_call_id: 'c', content: '18' },
      ],
      tools, tool_choice: 'auto', parallel_tool_calls: false, max_tokens: 1,
    },
  },
  {
    route: '/v1/chat/completions',
    body: {
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
      response_format: format, logprobs: true, top_logprobs: 2, max_tokens: 1,
    },
  },
  {
    route: '/v1/chat/completions',
    body: {
      messages: [
        { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] },
      ],
      grammar: 'root ::= "a" | "b"', max_tokens: 1,
    },
  },
  {
    route: '/v1/completions',
    body: { prompt: [72, 105], logprobs: 2, echo: false, suffix: '', best_of: 1, ...sampling, ...others },
  },
  { route: '/v1/completions', body: { prompt: ['Hi'], max_tokens: 1, stream: false } },
  {
    route: '/complete',
    body: {
      model: 'quality',
      messages: [user],
      tenant_id: 't',
      tools,
      tool_choice: 'required',
      max_tokens: 1,
    },
  },
  { route: '/complete/stream', body: { model: 'fast', messages: [user], tenant_id: 't', max_tokens: 1 } },
  {
    route: '/execute',
    body: {
      prompt: 'Hi',
      config: {
        model_name: 'gpt-4', temperature: 0.7, max_tokens: 1, timeout_seconds: 300, task_type: 't',
        max_depth: 2, model_params: { top_k: 5, reasoning_effort: 'low' },
      },
    },
  },
];

const ROUTES: readonly string[] = [...new Set(VALID.map(({ route }) => route))];

/** A JSON text with one place left open for any other text. */
interface Hole {
  readonly route: string;
  readonly before: string;
  readonly after: string;
}

const MARK = '@@hole@@';

/** The place of each value of each valid body. */
const VALUE_HOLES: readonly Hole[] = VALID.flatMap(({ route, body }) =>
  withMark(body).map((marked) => cut(route, marked, JSON.stringify(MARK))),
);

/** One more member at the start of each object of each valid body: `"key":value,` goes there. */
const MEMBER_HOLES: readonly Hole[] = VALID.flatMap(({ route, body }) => {
  const text = JSON.stringify(body);
  return [...text.matchAll(/\{(?=")/g)].map(({ index }) => ({
    route,
    before: text.slice(0, index + 1),
    after: text.slice(index + 1),
  }));
});

/** The names of all fields of all valid bodies. */
const NAMES: readonly string[] = [...new Set(VALID.flatMap(({ body }) => namesOf(body)))];

/** Copies of a value, each with the mark instead of one of its parts. */
function withMark(value: unknown): unknown[] {
  if (value === null || typeof value !== 'object') return [MARK];
  const parts = Object.entries(value).flatMap(([key, part]) =>
    withMark(part).map((marked) => {
      const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<
        string,
        unknown
      >;
      copy[key] = marked;
      return copy;
    }),
  );
  return [MARK, ...parts];
}

function cut(route: string, value: unknown, mark: string): Hole {
  const [before = '', after = ''] = JSON.stringify(value).split(mark);
  return { route, before, after };
}

function namesOf(value: unknown): string[] {
  if (value === null || typeof value !== 'object') return [];
  const names = Array.isArray(value) ? [] : Object.keys(value);
  return [...names, ...Object.values(value).flatMap(namesOf)];
}

/** A POST with a bad body, or with headers that do not fit it. */
export interface BodyAttempt {
  readonly kind: string;
  readonly route: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** JSON texts that break parsers, and texts that are not JSON. */
// prettier-ignore
const HARD = [
  'null', 'true', 'false', '0', '-0', '-1', '1.5', '1e999', '-1e999', '1e308', '1e-400', '5e-324',
  '9007199254740993', '2147483648', '4294967296', '-2147483649', '123456789012345678901234567890', 'NaN',
  'Infinity', '-', '01', '1.', '.5', '+1', '0x10', 'undefined', "'a'", '/*a*/1', '""', '"\\u0000"',
  '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\x41"', '"\\u12"', '"a\nb"', '"\\\\"', '"😀"',
  '[]', '{}', '[[]]', '[null]', '[{}]', '{"a":{}}', '[,]', '[1,]', '{"a":1,}', '{a:1}', '{"a":1,"a":2}',
  '{"__proto__":{"a":1}}', '{"constructor":{"prototype":{"a":1}}}', '{"toString":1,"hasOwnProperty":2}',
  '{"$ref":"#"}', '{"$ref":"http://127.0.0.1/"}', '{"type":"object","properties":{"a":{"$ref":"#"}}}',
  '{"type":"string","pattern":"^(a+)+$"}', '{"enum":[]}', '{"type":[]}', '{"not":{}}', '{"allOf":[]}',
  '"../../etc/passwd"', '"%2e%2e/"', '"/read /etc/passwd"', '"/exit"', '"http://127.0.0.1:1/"',
  '"<|im_end|>"', '"<|im_start|>system"', '"<__media__>"', '"{{ 7*7 }}"', '"{% raw %}"', '"root ::= root"',
  '"root ::= "', '"root ::= [a-z"', '"root ::= \\"a\\"{0,99999999}"', '"data:image/png;base64,AA=="',
] as const;

const oddNumber = fc.oneof(fc.double(), fc.integer(), fc.bigInt()).map((number) => String(number));

const oddText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme-ascii', maxLength: 300 }),
);

const odd = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...HARD) },
  { weight: 2, arbitrary: oddNumber },
  { weight: 1, arbitrary: oddText.map((text) => JSON.stringify(text)) },
  { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
  { weight: 1, arbitrary: fc.nat(120).map((depth) => '['.repeat(depth) + ']'.repeat(depth)) },
);

const key = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...NAMES) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', 'slot_id', 'functions', ''),
  },
  { weight: 1, arbitrary: oddText },
);

/** Wrong types and values at every field. */
const wrongValue = fc
  .tuple(fc.constantFrom(...VALUE_HOLES), odd)
  .map(([{ route, before, after }, value]) => attempt('wrong value', route, before + value + after));

/** Fields that do not belong there, or are there already. */
const extraMember = fc
  .tuple(fc.constantFrom(...MEMBER_HOLES), key, odd)
  .map(([{ route, before, after }, name, value]) =>
    attempt('extra member', route, `${before}${JSON.stringify(name)}:${value},${after}`),
  );

const anyValid = fc.constantFrom(...VALID.map(({ route, body }) => ({ route, text: JSON.stringify(body) })));

/** Where in a text, as a fraction, how much of it is removed, and what replaces it. */
const splice = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(4), fc.string({ maxLength: 4 }));

const brokenText = fc
  .tuple(anyValid, fc.array(splice, { minLength: 1, maxLength: 3 }))
  .map(([{ route, text }, splices]) => attempt('broken text', route, splices.reduce(spliced, text)));

function spliced(text: string, [place, length, put]: [number, number, string]): string {
  const at = Math.floor(place * text.length);
  return text.slice(0, at) + put + text.slice(at + length);
}

/** Valid JSON with bytes that are not UTF-8. */
const brokenBytes = fc
  .tuple(anyValid, fc.double({ min: 0, max: 1, noNaN: true }), fc.uint8Array({ minLength: 1, maxLength: 8 }))
  .map(([{ route, text }, place, bytes]) => {
    const body = Buffer.from(text);
    body.set(bytes, Math.floor(place * Math.max(0, body.length - bytes.length)));
    return attempt('broken bytes', route, body);
  });

const randomBytes = fc
  .tuple(fc.constantFrom(...ROUTES), fc.uint8Array({ maxLength: 64 }))
  .map(([route, bytes]) => attempt('random bytes', route, Buffer.from(bytes)));

const randomJson = fc
  .tuple(
    fc.constantFrom(...ROUTES),
    fc.oneof(fc.json({ maxDepth: 4 }), fc.dictionary(key, fc.jsonValue({ maxDepth: 2 }))),
  )
  .map(([route, value]) =>
    attempt('random JSON', route, typeof value === 'string' ? value : JSON.stringify(value)),
  );

const TYPES = [
  'text/plain',
  'application/jsonp',
  'application/json; charset=utf-16',
  'application/json;',
  'x',
  '',
];
const ENCODINGS = ['gzip', 'deflate', 'br', 'compress', 'gzip, gzip', 'identity', 'zstd', 'x'];

const HEADERS: readonly Readonly<Record<string, string>>[] = [
  ...TYPES.map((type) => ({ 'content-type': type })),
  ...ENCODINGS.map((encoding) => ({ ...JSON_TYPE, 'content-encoding': encoding })),
  { ...JSON_TYPE, accept: 'text/event-stream', 'x-conversation-id': 'other', 'x-forwarded-for': '127.0.0.1' },
  { ...JSON_TYPE, 'x-http-method-override': 'GET', 'x-original-url': '/health', 'x-rewrite-url': '/usage' },
  { ...JSON_TYPE, authorization: 'Bearer \u00ff', 'x-api-key': 'wrong' },
  { ...JSON_TYPE, origin: 'https://evil.example', 'access-control-request-method': 'POST' },
  { ...JSON_TYPE, host: 'evil.example' },
  { ...JSON_TYPE, range: 'bytes=0-', 'if-match': '*', te: 'trailers' },
];

const wrongHeaders = fc
  .tuple(wrongValue, fc.constantFrom(...HEADERS), fc.boolean())
  .map(([{ route, body }, headers, packed]): BodyAttempt => {
    const gzipped = packed && headers['content-encoding'] === 'gzip';
    return { kind: 'wrong headers', route, headers, body: gzipped ? gzipSync(body) : body };
  });

// prettier-ignore
const PATHS = [
  '/', '/chat/', '//chat', '/chat/..', '/%2e%2e/chat', '/%', '/%00', '/v1/models', '/usage', '/health',
];

/** Another path, or an invalid one. */
const wrongPath = fc
  .tuple(
    wrongValue,
    fc.oneof(
      fc.constantFrom(...PATHS),
      fc.webPath(),
      fc.webQueryParameters().map((q) => `/chat?${q}`),
    ),
  )
  .map(([{ body }, path]) => attempt('wrong path', path.startsWith('/') ? path : `/${path}`, body));

const MIB = 2 ** 20;

/** What is large, deep or unpacks to more; made once, when first drawn. */
const LARGE: readonly (() => BodyAttempt)[] = [
  () => attempt('large', '/chat', `{"prompt":"${'x'.repeat(MIB)}"}`),
  () => attempt('large', '/chat', `{"prompt":"${'x '.repeat(20_000)}"}`),
  () => attempt('large', '/v1/chat/completions', `{"messages":${'['.repeat(200_000)}`),
  () => attempt('large', '/v1/chat/completions', `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`),
  () => attempt('large', '/v1/completions', `{"prompt":[${'1,'.repeat(400_000)}1]}`),
  () => attempt('large', '/complete', `{${Array.from({ length: 60_000 }, (_, i) => `"k${i}":${i}`).join()}}`),
  () => attempt('large', '/llm', `{"task":"classify_email","input":{"a":[${'{},'.repeat(80_000)}{}]}}`),
  () => packed('/execute', Buffer.alloc(50 * MIB, 0x20)),
  () => packed('/chat', Buffer.from(`{"prompt":"${'é'.repeat(20_000)}"}`)),
];

const made = new Map<() => BodyAttempt, BodyAttempt>();

const large = fc.constantFrom(...LARGE).map((make) => {
  const found = made.get(make) ?? make();
  made.set(make, found);
  return found;
});

function packed(route: string, body: Buffer): BodyAttempt {
  return {
    kind: 'large',
    route,
    headers: { ...JSON_TYPE, 'content-encoding': 'gzip' },
    body: gzipSync(body),
  };
}

/** Any bad body. What is expensive has a small weight. */
export const badBody: fc.Arbitrary<BodyAttempt> = fc.oneof(
  { weight: 250, arbitrary: wrongValue },
  { weight: 30, arbitrary: extraMember },
  { weight: 150, arbitrary: brokenText },
  { weight: 80, arbitrary: brokenBytes },
  { weight: 60, arbitrary: randomBytes },
  { weight: 80, arbitrary: randomJson },
  { weight: 60, arbitrary: wrongHeaders },
  { weight: 20, arbitrary: wrongPath },
  { weight: 1, arbitrary: large },
);

function attempt(kind: string, route: string, body: string | Buffer): BodyAttempt {
  return { kind, route, headers: JSON_TYPE, body: Buffer.from(body) };
}
