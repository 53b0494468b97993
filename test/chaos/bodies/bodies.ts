import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { MEMBER_HOLES, NAMES, VALUE_HOLES } from './holes.js';
import { ROUTES, VALID } from './valid.js';

/** A POST with a bad body, or with headers that do not fit it. */
export interface BodyAttempt {
  readonly kind: string;
  readonly route: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** JSON texts that break readers, and texts that are not JSON. */
const HARD = [
  ...['null', 'true', 'false', '0', '-0', '-1', '1.5', '1e999', '-1e999', '1e308', '1e-400', '5e-324'],
  ...['9007199254740993', '2147483648', '4294967296', '-2147483649', '123456789012345678901234567890'],
  ...[
    'NaN',
    'Infinity',
    '-',
    '01',
    '1.',
    '.5',
    '+1',
    '0x10',
    'undefined',
    "'a'",
    '/*a*/1',
    '""',
    '"\\u0000"',
  ],
  ...['"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\x41"', '"\\u12"', '"a\nb"', '"\\\\"', '"😀"'],
  ...['[]', '{}', '[[]]', '[null]', '[{}]', '{"a":{}}', '[,]', '[1,]', '{"a":1,}', '{a:1}', '{"a":1,"a":2}'],
  ...['{"__proto__":{"a":1}}', '{"constructor":{"prototype":{"a":1}}}', '{"toString":1,"hasOwnProperty":2}'],
  ...['{"$ref":"#"}', '{"$ref":"http://127.0.0.1/"}', '{"type":"object","properties":{"a":{"$ref":"#"}}}'],
  ...['{"type":"string","pattern":"^(a+)+$"}', '{"enum":[]}', '{"type":[]}', '{"not":{}}', '{"allOf":[]}'],
  ...['"../../etc/passwd"', '"%2e%2e/"', '"/read /etc/passwd"', '"/exit"', '"http://127.0.0.1:1/"'],
  ...[
    '"<|im_end|>"',
    '"<|im_start|>system"',
    '"<__media__>"',
    '"{{ 7*7 }}"',
    '"{% raw %}"',
    '"root ::= root"',
  ],
  ...['"root ::= "', '"root ::= [a-z"', '"root ::= \\"a\\"{0,99999999}"', '"data:image/png;base64,AA=="'],
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

/** Where in a text, as a fraction, how much of it goes, and what comes in its place. */
const splice = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(4), fc.string({ maxLength: 4 }));

const brokenText = fc
  .tuple(anyValid, fc.array(splice, { minLength: 1, maxLength: 3 }))
  .map(([{ route, text }, splices]) => attempt('broken text', route, splices.reduce(spliced, text)));

function spliced(text: string, [place, length, put]: [number, number, string]): string {
  const at = Math.floor(place * text.length);
  return text.slice(0, at) + put + text.slice(at + length);
}

/** Valid JSON with bytes that are no UTF-8, and bytes that are nothing at all. */
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

const HEADERS: readonly Readonly<Record<string, string>>[] = [
  ...[
    'text/plain',
    'application/jsonp',
    'application/json; charset=utf-16',
    'application/json;',
    'x',
    '',
  ].map((type) => ({ 'content-type': type })),
  ...['gzip', 'deflate', 'br', 'compress', 'gzip, gzip', 'identity', 'zstd', 'x'].map((encoding) => ({
    ...JSON_TYPE,
    'content-encoding': encoding,
  })),
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

const PATHS = [
  '/',
  '/chat/',
  '//chat',
  '/chat/..',
  '/%2e%2e/chat',
  '/%',
  '/%00',
  '/v1/models',
  '/usage',
  '/health',
];

/** Another path, or one that is no path. */
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

/** What is large, deep or unpacks to more than it is; made once, when first drawn. */
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

/** Any bad body. Small weights are for what costs much. */
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
