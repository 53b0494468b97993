#!/usr/bin/env node
/**
 * Stands in for llama-cli where a fault is wanted that the real one does not show on demand. It speaks the part of
 * llama.cpp's endpoint that LMServ uses and answers with the words of the last message. How it misbehaves is told by
 * `--fake-…` arguments, for its start, and by @words in a message, for one request.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

const args = process.argv.slice(2);
const has = (name) => args.includes(name);
const valueOf = (name) => args[args.indexOf(name) + 1];
const log = (line) => process.stderr.write(`${line}\n`);

// At its end the real one spins; this one says so, for the test that nothing is ever written to or ended there.
process.stdin
  .on('data', (data) => log(`STDIN ${JSON.stringify(String(data))}`))
  .on('end', () => log('STDIN END'));
if (has('--fake-ignore-term')) process.on('SIGTERM', () => log('SIGTERM ignored'));
else process.on('SIGTERM', () => process.exit(0));

if (has('--fake-exit')) {
  log('error: failed to load model');
  process.exit(7);
}
if (has('--fake-flood')) process.stderr.write('x'.repeat(1_000_000) + '\n');

const words = (text) => text.split(/(?<= )/).filter((word) => !word.startsWith('@'));

const server = createServer((request, response) => {
  if (request.url === '/props')
    return response.end(
      JSON.stringify({ modalities: { vision: false }, total_slots: Number(valueOf('-np')) }),
    );
  if (request.url === '/slots') return slots(response);
  if (request.url === '/health') {
    log('health');
    if (!has('--fake-mute')) response.end('{"status":"ok"}');
    return;
  }
  if (request.method === 'GET') return response.writeHead(404).end('{}');
  let body = '';
  request.on('data', (data) => (body += data));
  request.on('end', () => {
    const asked = JSON.parse(body);
    if (request.url === '/tokenize') response.end(JSON.stringify({ tokens: tokens(asked.content) }));
    else if (request.url === '/apply-template') response.end(JSON.stringify({ prompt: rendered(asked) }));
    else if (request.url === '/completion') probe(response);
    else if (request.url.startsWith('/slots/')) saveOrRestore(request.url, asked, response);
    else answer(asked, response);
  });
});

/** A token a word; its id is its place in the text. `--fake-space` puts a space first, as some vocabularies do. */
function tokens(content) {
  const texts = [content].flat();
  return texts
    .flatMap((text) => words((has('--fake-space') ? ' ' : '') + text))
    .map((piece, id) => ({ id, piece }));
}

/** A template that leaves the last message and a place for the reply. */
const rendered = ({ messages }) => `${messages.at(-1).content}\n---\n`;

/** What waits for the next look at the slots, and how often they were looked at. */
let onLook;
let looks = 0;

/** Only of a reply that says nothing but goes on is there anything to see. */
function slots(response) {
  if (!onLook) return response.writeHead(404).end('{}');
  response.end(JSON.stringify([{ n_decoded: (looks += 1) }]));
  onLook();
}

/** Restores nothing: what is restored has no effect. */
function saveOrRestore(url, { filename }, response) {
  log(`slot ${url}`);
  if (has('--fake-slot-errors'))
    return refuse(response, 500, 'server_error', 'Unable to save or restore slot');
  if (url.endsWith('=save')) writeFileSync(join(valueOf('--slot-save-path'), filename), 'state');
  if (!has('--fake-slot-hangs')) response.end('{}');
}

function probe(response) {
  log('probe');
  if (!has('--fake-mute')) response.end('{"content":"x"}');
}

function answer(body, response) {
  const [text, given] = asked(body);
  const say = (delta, finish_reason = null) =>
    body.prompt === undefined
      ? { index: 0, delta, finish_reason }
      : { index: 0, text: delta.content ?? '', finish_reason };
  const at = (word) => text.includes(word);
  log(`request ${text}`);
  response.on('close', () => log(`closed ${text}`));
  if (at('@refuse-at-length')) return refuse(response, 400, 'invalid_request_error', 'no '.repeat(5_000));
  if (at('@refuse')) return refuse(response, 400, 'invalid_request_error');
  if (at('@long')) return refuse(response, 400, 'exceed_context_size_error');
  if (at('@crash')) process.kill(process.pid, 'SIGSEGV');
  if (at('@die-at-once')) process.kill(process.pid, 'SIGKILL');
  response.writeHead(200, { 'content-type': 'text/event-stream', connection: 'close' });
  const send = (value) => response.write(`data: ${JSON.stringify(value)}\n\n`);
  const chunk = (delta, finish_reason = null) => send({ choices: [say(delta, finish_reason)] });
  send({ choices: [], prompt_progress: { total: 5, cache: 0, processed: 5 } });
  if (at('@die-in-prefill'))
    return void process.stderr.write('fatal: boom\n', () => process.kill(process.pid, 'SIGKILL'));
  if (at('@hang-in-prefill')) return;
  if (at('@large')) return sendLarge(chunk, response);
  const once = /@hang-once:(\S+)/.exec(text)?.[1];
  if (once && !existsSync(once)) return writeFileSync(once, '');
  const said = words(text).join('').slice(given.length);
  const rest = said.split(/(?<= )/).filter(Boolean);
  const dieOnce = /@die-once:(\S+)/.exec(text)?.[1];
  const dies = dieOnce && !existsSync(dieOnce);
  for (const word of rest.slice(0, Math.min(dies ? 2 : Infinity, body.max_tokens ?? Infinity)))
    chunk({ content: word });
  if (dies) {
    writeFileSync(dieOnce, '');
    return void setImmediate(() => process.kill(process.pid, 'SIGKILL'));
  }
  if (at('@die-in-decode')) return void setImmediate(() => process.kill(process.pid, 'SIGKILL'));
  if (at('@hold')) return;
  if (at('@textless'))
    return void (onLook = () => {
      if (looks < 4) return;
      chunk({ content: ' and an end' });
      chunk({}, 'stop');
      send({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 3 } });
      response.end('data: [DONE]\n\n');
    });
  if (at('@cut')) return response.end();
  if (at('@pings')) return void setInterval(() => response.write(': ping\n\n'), 20);
  chunk({}, 'stop');
  if (at('@die-after-finish')) return void setImmediate(() => process.kill(process.pid, 'SIGKILL'));
  send({ choices: [], usage: { prompt_tokens: 5, completion_tokens: rest.length } });
  response.end('data: [DONE]\n\n');
}

/** 32 MiB of text, as fast as it is taken; says how much is on its way when nothing more is for 200 ms. */
function sendLarge(chunk, response, left = 255) {
  const { socket } = response;
  const stuck = () =>
    log(`stuck ${JSON.stringify({ port: server.address().port, sent: socket.bytesWritten })}`);
  if (left === 0) {
    chunk({}, 'stop');
    return void response.end('data: [DONE]\n\n');
  }
  const timer = setTimeout(stuck, 200);
  response.once('drain', () => {
    clearTimeout(timer);
    sendLarge(chunk, response, left - 1);
  });
  chunk({ content: 'x'.repeat(64 * 1024) });
}

/** What the client said, and how much of its answer is there already. */
function asked({ prompt, messages }) {
  if (prompt !== undefined) {
    const [start, ...ids] = [prompt].flat();
    log(`prompt ${JSON.stringify(prompt)}`);
    const [text, given = ''] = start.split('\n---\n');
    const said = words(text).slice(0, ids.length).join('');
    return [text, given + said];
  }
  const last = messages.at(-1);
  return last.role === 'assistant' ? [messages.at(-2).content, last.content] : [last.content, ''];
}

function refuse(response, code, type, message = 'no') {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error: { code, type, message } }));
}

const socketPath = has('--host') && valueOf('--host');
if (socketPath) server.listen(socketPath, () => log(`main: listening on ${socketPath}`));
else if (!has('--fake-silent')) {
  server.listen(0, '127.0.0.1', () => log(`main: listening on http://127.0.0.1:${server.address().port}`));
}
