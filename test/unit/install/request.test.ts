import { MockAgent } from 'undici';
import { get } from '../../../src/install/download/request.js';

let network: MockAgent;

beforeEach(() => {
  network = new MockAgent();
  network.disableNetConnect();
});
afterEach(() => network.close());

const redirect = (origin: string, location: string) =>
  network.get(origin).intercept({ path: '/file' }).reply(302, '', { headers: { location } });

test('a redirect from https to http is refused', async () => {
  redirect('https://a.test', 'https://b.test/file');
  redirect('https://b.test', 'http://b.test/file');
  await expect(get('https://a.test/file', {}, undefined, network)).rejects.toMatchObject({
    code: 'http',
    message: 'https://a.test/file redirects from https to http, which is refused',
  });
});

test('a redirect from http to https is followed', async () => {
  redirect('http://a.test', 'https://a.test/file');
  network.get('https://a.test').intercept({ path: '/file' }).reply(200, 'text');
  const { body } = await get('http://a.test/file', {}, undefined, network);
  expect(await body.text()).toBe('text');
});
