import fc from 'fast-check';

/** Bytes that resemble HTTP, written to a fresh connection piece by piece. */
export interface WireAttempt {
  readonly kind: string;
  readonly writes: readonly Buffer[];
  /** What the client does after its last byte: waits for the server to close, ends its half, or disconnects. */
  readonly ending: 'wait' | 'end' | 'destroy';
  /** More replies than this mean that one request was taken for several. */
  readonly mostReplies: number;
}

/** Stands for the server's key wherever one is sent. */
export const KEY_MARK = '@@key@@';

const BODY = '{"prompt":7}';
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n';

function head(lines: readonly string[], start = 'POST /chat HTTP/1.1'): string {
  return `${[start, 'Host: localhost', `X-API-Key: ${KEY_MARK}`, ...lines].join('\r\n')}\r\n\r\n`;
}

const request = (...lines: string[]) =>
  head(['Content-Type: application/json', `Content-Length: ${BODY.length}`, ...lines]) + BODY;

const whole = request('Connection: close');

const fractions = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 6 });

/** One good request in several pieces. */
const split = fractions.map((cuts): WireAttempt => {
  const places = [
    0,
    ...cuts.map((cut) => Math.floor(cut * whole.length)).sort((a, b) => a - b),
    whole.length,
  ];
  const writes = places.slice(1).map((place, i) => bytes(whole.slice(places[i], place)));
  return { kind: 'split writes', writes, ending: 'wait', mostReplies: 1 };
});

/** A client that disconnects in the middle, sometimes after a reply. */
const earlyClose = fc
  .tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom('end' as const, 'destroy' as const))
  .map(([cut, ending]): WireAttempt => {
    const writes = [bytes(whole.slice(0, Math.floor(cut * whole.length)))];
    return { kind: 'early close', writes, ending, mostReplies: 1 };
  });

const pipelined = fc.integer({ min: 2, max: 20 }).map((count): WireAttempt => {
  const writes = [bytes(request().repeat(count - 1) + whole)];
  return { kind: 'pipelined', writes, ending: 'wait', mostReplies: count };
});

// prettier-ignore
const CHUNKS = [
  'zz\r\n', '-1\r\n', 'ffffffffffffffff\r\n', '0x5\r\nhello\r\n0\r\n\r\n', ' 5\r\nhello\r\n',
  '5 \r\nhello\r\n', '5\r\nhello!\r\n0\r\n\r\n', '5\r\nhell', '5\nhello\n0\n\n', '\r\n', '', '0\r\n',
  '5;a="\r\nhello\r\n0\r\n\r\n', '0\r\nHost: evil.example\r\nContent-Length: 5\r\n\r\n',
  `0\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, `1;${'e'.repeat(20_000)}\r\na\r\n0\r\n\r\n`,
  '0\r\n\0: y\r\n\r\n', '00000000000000000000\r\n\r\n',
];

const badChunks = fc
  .constantFrom(...CHUNKS)
  .map((chunks) =>
    once('bad chunks', head(['Content-Type: application/json', 'Transfer-Encoding: chunked']) + chunks),
  );

// prettier-ignore
const LENGTHS = [
  '-1', '+5', '5, 5', '1e3', '0x5', '9'.repeat(19), '9'.repeat(30), '', ' ', '5 5', '5\0', '0', '1', '99',
];

/** Lengths that are invalid or not that of the body. A short one leaves bytes that are not a request. */
const badLength = fc
  .constantFrom(...LENGTHS.map((length) => [`Content-Length: ${length}`]), [
    'Content-Length: 12',
    'Content-Length: 13',
  ])
  .map((lines) => once('bad length', head(['Content-Type: application/json', ...lines]) + BODY, 2));

// prettier-ignore
const CODINGS = [
  'chunked', 'Chunked', 'xchunked', 'chunked, identity', 'identity, chunked', 'identity', '\tchunked',
  'chunked\0', '"chunked"', ' chunked ', 'chunked;a=b', 'gzip, chunked', 'chunked, chunked', '\x0bchunked',
  '',
];

/** Both ways to say where a body ends: a server that believes the wrong one finds a second request in it. */
const smuggled = fc
  .tuple(
    fc.constantFrom(...CODINGS),
    fc.constantFrom('Transfer-Encoding', 'Transfer-Encoding ', 'transfer-encoding'),
    fc.boolean(),
  )
  .map(([coding, name, byLength]) => {
    const chunked = `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`;
    const body = byLength ? `0\r\n\r\n${SMUGGLED}` : chunked;
    const length = byLength ? body.length : chunked.indexOf('GET');
    const lines = ['Content-Type: application/json', `Content-Length: ${length}`, `${name}: ${coding}`];
    return once('smuggled', head(lines) + body);
  });

// prettier-ignore
const LINES = [
  'X: a\0b', 'X\0: b', 'X: a\rb', 'X: a\nY: b', ' folded', 'no colon', ': no name', 'X : b', 'X: \x7f',
  'é: é', `X: ${'x'.repeat(17_000)}`, `${'x'.repeat(17_000)}: x`, Array(3_000).fill('X: y').join('\r\n'),
  'Host: evil.example', 'Host: localhost', 'Expect: 100-continue', 'Expect: x', 'Upgrade: h2c',
  'Upgrade: websocket', 'Connection: x, close, Host', 'Connection: upgrade\r\nUpgrade: x', 'Trailer: Host',
  'Proxy: http://127.0.0.1/',
];

const badHeader = fc
  .constantFrom(...LINES)
  .map((line) => once('bad header', request(line, 'Connection: close'), 2));

// prettier-ignore
const STARTS = [
  'GET /', 'GET  /  HTTP/1.1', 'get / HTTP/1.1', 'GET / HTTP/9.9', 'GET / HTTP/1.0', 'GET / HTTP/0.9',
  'GET / http/1.1', 'GET http://evil.example/ HTTP/1.1', 'GET //evil.example/ HTTP/1.1',
  'GET /\0 HTTP/1.1', 'GET /é HTTP/1.1', 'CONNECT localhost:1 HTTP/1.1', 'OPTIONS * HTTP/1.1',
  'TRACE / HTTP/1.1', 'PRI * HTTP/2.0', 'BREW / HTTP/1.1', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  `GET /${'x'.repeat(20_000)} HTTP/1.1`, '', '\r\n\r\nGET / HTTP/1.1', 'GET /health?a=%ff HTTP/1.1',
  'GET /%ff HTTP/1.1', 'GET /v1/models/%00 HTTP/1.1', 'HEAD /chat HTTP/1.1',
];

const badStart = fc
  .constantFrom(...STARTS)
  .map((start) => once('bad start', head(['Connection: close'], start)));

const garbage = fc
  .uint8Array({ minLength: 1, maxLength: 200 })
  .map((noise) => ({ ...once('garbage', ''), writes: [Buffer.from(noise)] }));

/** A good request with some bytes changed. */
const noise = fc
  .tuple(fractions, fc.uint8Array({ minLength: 6, maxLength: 6 }))
  .map(([places, values]): WireAttempt => {
    const text = Buffer.from(whole);
    places.forEach((place, i) => (text[Math.floor(place * (text.length - 1))] = values[i]!));
    return { kind: 'noise', writes: [text], ending: 'end', mostReplies: 3 };
  });

/** Any broken HTTP. */
export const badWire: fc.Arbitrary<WireAttempt> = fc.oneof(
  ...[split, earlyClose, pipelined, badChunks, badLength, smuggled, badHeader, badStart, garbage, noise],
);

function once(kind: string, text: string, mostReplies = 1): WireAttempt {
  return { kind, writes: [bytes(text)], ending: 'end', mostReplies };
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
