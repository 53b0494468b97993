import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readFile } from 'node:fs/promises';
import { json } from '../support/exchange.js';
import { emptyFolder, modeOf } from '../support/folder.js';
import { DEMO_MODEL, LiveServer, llamaServer } from '../support/live.js';
import { keyText, replaceFile, sha256, writePrivate } from '../unit/accounts/keys/helpers.js';
import { CHAT, post } from './requests.js';

/** Conversations that outlive their worker, on real llama.cpp. */

const root = emptyFolder();
const slots = join(root, 'slots');
const keys = join(root, 'keys.json');
const MODEL = 'lmserv-demo';

/** Part of a prompt that is cached by chance: a token that begins every prompt, or two. */
const NOTHING = 0.02;

let live: LiveServer;
afterEach(() => live.stop());

const entry = (name: string) => ({ name, sha256: sha256(`key of ${name}`) });

async function serve(env: Record<string, string> = {}): Promise<LiveServer> {
  live = new LiveServer({
    LLM_BIN_PATH: await llamaServer(),
    DATA_DIR: root,
    API_KEYS_FILE: keys,
    SLOT_SAVE_MB: '64',
    LLM_CTX_SIZE: '1024',
    ...env,
  });
  return live.start();
}

async function restart(env: Record<string, string> = {}): Promise<void> {
  await live.stop();
  await serve(env);
}

beforeEach(() => writePrivate(keys, keyText(entry('anna'), entry('ben'))));

type Message = { role: string; content: string };

/** About 300 tokens. */
const opening = (name: string): Message[] => [
  { role: 'user', content: `My name is ${name}. ${`${name} likes to talk about the sea. `.repeat(30)}` },
];

/** One turn of a caller: its reply joins the conversation. @returns the part of its prompt that was cached */
async function turn(conversation: Message[], caller: string, said?: string): Promise<number> {
  if (said !== undefined) conversation.push({ role: 'user', content: said });
  const body = { messages: conversation, temperature: 0, max_tokens: 8 };
  const headers: Record<string, string> = caller === '' ? {} : { 'X-API-Key': `key of ${caller}` };
  const { choices, usage } = json(await post(live, CHAT, body, headers));
  conversation.push({ role: 'assistant', content: choices[0].message.content });
  return usage.prompt_tokens_details.cached_tokens / usage.prompt_tokens;
}

/** The files of saved slots. */
const saved = () => readdirSync(slots).filter((file) => file.endsWith('.slot'));

test('a conversation goes on after a restart, in private files that are gone then', async () => {
  await serve();
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  await live.stop();
  expect(saved()).toHaveLength(1);
  expect(modeOf(slots)).toBe('700');
  for (const file of readdirSync(slots)) expect([file, modeOf(join(slots, file))]).toEqual([file, '600']);
  await serve();
  expect(await turn(conversation, 'anna', 'Go on.')).toBeGreaterThan(0.9);
  expect(saved()).toEqual([]);
});

test('a conversation goes on after its worker was recycled', async () => {
  await serve({ WORKER_MAX_REQUESTS: '2' });
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  await turn(conversation, 'anna', 'Go on.');
  await live.until('worker_exit', ({ cause }) => cause === 'recycled');
  expect(saved()).toHaveLength(1);
  expect(await turn(conversation, 'anna', 'And then?')).toBeGreaterThan(0.9);
});

test('a conversation goes on after its model was unloaded', async () => {
  await serve();
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  expect((await post(live, `/admin/models/${MODEL}/unload`, undefined)).status).toBe(200);
  expect(live.workerPids()).toEqual([]);
  expect(saved()).toHaveLength(1);
  expect(await turn(conversation, 'anna', 'Go on.')).toBeGreaterThan(0.9);
});

test('each of several slots is saved for the caller whose request ran last in it', async () => {
  const settings = { LLM_SLOTS: '2', CACHE_RAM_MB: '64' };
  await serve(settings);
  const [anna, ben, other] = [opening('Anna'), opening('Ben'), opening('Ben again')];
  await Promise.all([turn(anna, 'anna'), turn(ben, 'ben')]);
  await turn(ben, 'ben', 'Go on.');
  // It takes the slot that was used less recently: Anna's.
  await turn(other, 'ben');
  await restart(settings);
  expect(saved()).toHaveLength(2);
  expect(await turn(anna, 'anna', 'Go on.')).toBeLessThan(NOTHING);
  expect(await turn(ben, 'ben', 'Go on.')).toBeGreaterThan(0.9);
  expect(await turn(other, 'ben', 'Go on.')).toBeGreaterThan(0.9);
});

test('a request runs in the slot that is noted for it, where llama.cpp would choose a similar one', async () => {
  await serve({ LLM_SLOTS: '2' });
  // Shorter than what LMServ compares, longer than the tenth of a prompt that llama.cpp compares.
  const beginning =
    'Please be kind and patient with me, because it has been a long day here at the harbour. ';
  const [anna, ben] = ['Anna', 'Ben'].map((name) => [
    { role: 'user', content: beginning + `${name} likes to talk about the sea. `.repeat(16) },
  ]) as [Message[], Message[]];
  await turn(anna, 'anna');
  await turn(ben, 'ben');
  await restart({ LLM_SLOTS: '2' });
  expect(await turn(anna, 'anna', 'Go on.')).toBeGreaterThan(0.8);
  expect(await turn(ben, 'ben', 'Go on.')).toBeGreaterThan(0.8);
});

test('nothing is restored for another caller, although it sends the same', async () => {
  await serve();
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  const copy = [...conversation];
  await restart();
  expect(await turn(copy, 'ben', 'Go on.')).toBeLessThan(NOTHING);
  expect(saved()).toHaveLength(1);
});

test('what a caller without a key said is not saved', async () => {
  await serve({ KEYLESS_NETWORKS: '127.0.0.1' });
  await turn(opening('Anna'), '');
  await live.stop();
  expect(saved()).toEqual([]);
});

test('a request that was refused leaves no conversation of another under its caller', async () => {
  await serve();
  await turn(opening('Anna'), 'anna');
  const tooLong = [{ role: 'user', content: 'word '.repeat(3000) }];
  const refused = await post(live, CHAT, { messages: tooLong }, { 'X-API-Key': 'key of ben' });
  expect(refused.status).toBe(400);
  await live.stop();
  expect(saved()).toEqual([]);
});

test('revoking a key erases its slots, and what its worker still holds is not saved', async () => {
  await serve();
  await turn(opening('Anna'), 'anna');
  await post(live, `/admin/models/${MODEL}/unload`, undefined);
  const conversation = opening('Anna again');
  await turn(conversation, 'anna');
  expect(saved()).toHaveLength(1);
  replaceFile(keys, keyText(entry('ben')));
  await live.until('keys_reloaded');
  while (saved().length > 0) await new Promise(setImmediate);
  await live.stop();
  expect(saved()).toEqual([]);
});

test('a new key under the old name finds nothing', async () => {
  await serve();
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  await live.stop();
  writePrivate(keys, keyText({ name: 'anna', sha256: sha256('key of another anna') }));
  await serve();
  expect(saved()).toEqual([]);
  expect(await turn(conversation, 'another anna', 'Go on.')).toBeLessThan(NOTHING);
});

test.each([
  ['model', async () => ({ LLM_MODEL_PATH: await copyOfModel() })],
  ['template', async () => ({ LLM_EXTRA_ARGS: '--chat-template chatml' })],
])('a slot is not restored into another %s', async (_, settings) => {
  await serve();
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  await restart(await settings());
  expect(await turn(conversation, 'anna', 'Go on.')).toBeLessThan(NOTHING);
  expect(saved()).toHaveLength(1);
});

/** The same bytes, but another file. */
async function copyOfModel(): Promise<string> {
  const path = join(root, `${MODEL}.gguf`);
  writeFileSync(path, await readFile(DEMO_MODEL));
  return path;
}

test('a damaged file is erased, and the conversation is evaluated again', async () => {
  await serve();
  const conversation = opening('Anna');
  await turn(conversation, 'anna');
  await live.stop();
  const file = join(slots, saved()[0]!);
  const content = readFileSync(file);
  content.writeUInt8(content.readUInt8(1000) ^ 1, 1000);
  writeFileSync(file, content);
  await serve();
  expect(await turn(conversation, 'anna', 'Go on.')).toBeLessThan(NOTHING);
  expect(live.logged('slot_damaged')).toHaveLength(1);
  expect(saved()).toEqual([]);
});

test('without a budget, or with PROMPT_CACHE=off, nothing is saved and what was is erased', async () => {
  const off: Record<string, string>[] = [{ SLOT_SAVE_MB: '0' }, { PROMPT_CACHE: 'off' }];
  for (const settings of off) {
    await serve();
    await turn(opening('Anna'), 'anna');
    await restart(settings);
    expect(saved()).toEqual([]);
    await turn(opening('Anna'), 'anna');
    await live.stop();
    expect(saved()).toEqual([]);
  }
});

test('with llama-cli nothing is saved, and a warning says what to set', async () => {
  await serve({ LLM_BIN_PATH: (await llamaServer()).replace(/llama-server$/, 'llama-cli') });
  expect(live.logged('slots_off')[0].msg).toContain('set LLM_BIN_PATH to a llama-server');
  await turn(opening('Anna'), 'anna');
  await live.stop();
  expect(saved()).toEqual([]);
});
