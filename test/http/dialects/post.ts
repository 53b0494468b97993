import request from 'supertest';
import { KEY, testApp, type TestOptions } from '../../support/app.js';

/** Posts a JSON body with the key to the app over a fake generate. */
export function post(
  path: string,
  body: object,
  generate?: TestOptions['generate'],
  options: Partial<TestOptions> = {},
) {
  return request(testApp(generate ? { ...options, generate } : options))
    .post(path)
    .set('X-API-Key', KEY)
    .send(body);
}

/** The values of an NDJSON text. */
export function ndjson(text: string): unknown[] {
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}
