import { conversationText } from '../../../src/pool/prefix.js';

const showing = (data: string) => ({
  messages: [
    {
      role: 'user',
      content: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${data}` } }],
    },
  ],
});

test('of an image only so much is compared as tells it from others', () => {
  const [cat, dog] = ['QUJD', 'REVG'].map((piece) => conversationText(showing(piece.repeat(1_000_000))));
  expect(cat).not.toBe(dog);
  expect(cat!.length).toBeLessThan(1_000);
  expect(conversationText(showing('QUJD'.repeat(1_000_000)))).toBe(cat);
  expect(conversationText(showing(`QUJD${'AAAA'.repeat(1_000)}`))).not.toBe(
    conversationText(showing(`REVG${'AAAA'.repeat(1_000)}`)),
  );
});

test('a gap is told apart by what follows it too', () => {
  const filling = (suffix: string) => conversationText({ prompt: 'before', suffix });
  expect(filling('one')).not.toBe(filling('two'));
});
