import { connect, type Socket } from 'node:net';
import { httpServer } from '../../src/http/server.js';
import { KEY, testApp, type TestOptions } from '../support/app.js';
import { serve } from '../support/fake-server.js';

/** The app on a port until the end of the test. */
export async function serving(options: Partial<TestOptions> = {}) {
  const server = httpServer(testApp(options));
  return { server, url: await serve(server) };
}

const sockets: Socket[] = [];
afterEach(() => sockets.splice(0).forEach((socket) => socket.destroy()));

/** A connection until the end of the test. */
export function connection(url: string): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').setEncoding('utf8');
  sockets.push(socket.on('error', () => undefined));
  return socket;
}

/** Reads until the text contains `end`, or the server closes. */
export async function textUntil(socket: Socket, end?: string): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk as string;
    if (end !== undefined && text.includes(end)) break;
  }
  return text;
}

/** The bytes of a POST with the key and a JSON body. */
export function requestText(path: string, body: object, version = '1.1'): string {
  const json = JSON.stringify(body);
  const headers = [`X-API-Key: ${KEY}`, 'Content-Type: application/json', `Content-Length: ${json.length}`];
  return `POST ${path} HTTP/${version}\r\nHost: localhost\r\n${headers.join('\r\n')}\r\n\r\n${json}`;
}

/** What Node does when a socket has moved no byte for as long as its `timeout` says. */
export function timeOut(socket: Socket): void {
  expect(socket.timeout).toBe(30_000);
  socket.emit('timeout');
}
