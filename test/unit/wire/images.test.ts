import { lengthOf, replaceImages, toJson } from '../../../src/wire/images.js';

const image = (url: string) => ({ type: 'image_url', image_url: { url } });
const user = (...content: object[]) => ({ role: 'user', content }) as never;
const URL = `data:image/png;base64,${'QUJD'.repeat(200_000)}`;

const body = {
  messages: [user({ type: 'text', text: 'a "b"' }, image(URL)), user(image('data:x"\n😀')), user(image(URL))],
  max_tokens: 1,
};

test('a body with images becomes the same JSON text, in pieces', async () => {
  const pieces = [...(toJson(body) as Iterable<string>)];
  expect(pieces.join('')).toBe(JSON.stringify(body));
  expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(300_000);
  expect(await lengthOf(pieces)).toBe(Buffer.byteLength(JSON.stringify(body)));
});

test('a character that a border cuts in half is escaped, and means the same', () => {
  const odd = { messages: [user(image(`${'x'.repeat(262_143)}😀`))] };
  expect(JSON.parse([...(toJson(odd) as Iterable<string>)].join(''))).toEqual(odd);
});

test.each([
  { prompt: 'a' },
  { messages: [{ role: 'user', content: 'a' }] },
  { messages: [user({ type: 'text', text: 'a' }, { type: 'image_url' })] },
])('a body without images is one text, and is not copied: %j', (plain) => {
  expect(toJson(plain)).toBe(JSON.stringify(plain));
  expect(replaceImages(plain, () => '')).toBe(plain);
});
