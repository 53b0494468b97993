/**
 * The floor for LMServ: passes a chat completion to a worker, parses each event of the reply and encodes it again as
 * `/v1/chat/completions` does. No keys, queue, limits, log or back-pressure. Arguments: its port and the worker's URL.
 */
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';

let replies = 0;

export function bareServer(upstream: string): Server {
  return createServer((incoming, outgoing) => {
    const parts: Buffer[] = [];
    incoming.on('data', (part: Buffer) => parts.push(part));
    incoming.on('end', () => forward(upstream, Buffer.concat(parts).toString(), outgoing));
  });
}

function forward(upstream: string, body: string, outgoing: ServerResponse): void {
  const { model } = JSON.parse(body) as { model: string };
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  // A fresh connection for each request, as in LMServ: the worker closes its own without saying so.
  const toWorker = request(upstream, { method: 'POST', agent: false, headers });
  toWorker.on('response', (response) => relay(response, outgoing, model));
  toWorker.on('error', () => outgoing.destroy());
  outgoing.on('close', () => toWorker.destroy());
  toWorker.end(body);
}

function relay(response: IncomingMessage, outgoing: ServerResponse, model: string): void {
  const id = `chatcmpl-${(replies += 1)}`;
  const fields = { id, object: 'chat.completion.chunk', created: Math.floor(Date.now() / 1000), model };
  const head = `data: ${JSON.stringify(fields).slice(0, -1)},"choices":[`;
  let partial = '';
  outgoing.writeHead(response.statusCode!, { 'content-type': 'text/event-stream' });
  response.setEncoding('utf8').on('data', (text: string) => {
    const events = (partial + text).split('\n\n');
    partial = events.pop()!;
    const encoded = events.map((event) => encode(event, head)).join('');
    if (encoded !== '') outgoing.write(encoded);
  });
  response.on('end', () => outgoing.end());
  response.on('error', () => outgoing.destroy());
}

function encode(event: string, head: string): string {
  if (!event.startsWith('data: ')) return '';
  const data = event.slice('data: '.length);
  if (data === '[DONE]') return 'data: [DONE]\n\n';
  const [choice] = (JSON.parse(data) as { choices: { delta: object; finish_reason: string | null }[] })
    .choices;
  if (choice === undefined) return '';
  const { delta, finish_reason: reason } = choice;
  return `${head}{"index":0,"delta":${JSON.stringify(delta)},"logprobs":null,"finish_reason":${JSON.stringify(reason)}}]}\n\n`;
}

const [, script, port, upstream] = process.argv;
if (script === fileURLToPath(import.meta.url)) {
  bareServer(upstream!).listen(Number(port), '127.0.0.1');
  // Node writes a profile only when the process exits by itself.
  process.on('SIGTERM', () => process.exit());
}
