import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { get, json, type Reply } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { DEMO_MODEL, demoModel, LiveServer, writeConfig } from '../support/live.js';
import { writeAdapter, writeProjector } from '../../bench/model/companions.js';
import { begun, CHAT, DISH, ENDLESS_CHAT, KEY, messages, post, user } from './requests.js';

/** Models that are found in a folder, and what the configuration file adds to models. On real llama.cpp. */

const brief = { messages, temperature: 0, max_tokens: 4 };

const contentOf = (reply: Reply): string => json(reply).choices[0].message.content;

describe('a folder of model files', () => {
  const folder = newFolder();
  const at = (name: string) => join(folder, name);
  let live: LiveServer;

  beforeAll(async () => {
    copyFileSync(DEMO_MODEL, at('second.gguf'));
    await writeAdapter(at('style.gguf'));
    live = await new LiveServer({ LLM_MODELS_DIR: folder, LOG_LEVEL: 'info' }).start();
  });

  afterAll(() => live.stop());

  const chat = (model: string) => post(live, CHAT, { ...brief, model });
  const models = async (): Promise<any[]> => json(await get(`${live.url}/v1/models`, KEY)).data;
  const find = async (id: string) => (await models()).find((model) => model.id === id);
  const act = (id: string, action: string) =>
    fetch(`${live.url}/admin/models/${encodeURIComponent(id)}/${action}`, { method: 'POST', headers: KEY });

  test('is served by name, and a file is loaded by the first request for it', async () => {
    expect(await find('second')).toMatchObject({
      ...{ state: 'unloaded', context_length: 4096, quantization: 'F16', parameters: 1_568_160 },
      size_bytes: readFileSync(DEMO_MODEL).length,
    });
    expect(await find('style')).toBeUndefined();
    expect(json(await chat('second'))).toMatchObject({ model: 'second' });
    expect(await find('second')).toMatchObject({ state: 'loaded' });
    expect(json(await get(`${live.url}/v1/models`, KEY)).data[0].id).toBe('lmserv-demo');
  });

  test('is seen by operators, with the reasons for other files', async () => {
    const listing = json(await get(`${live.url}/admin/models`, KEY));
    expect(listing.data.map(({ id }: { id: string }) => id)).toEqual(['lmserv-demo', 'second']);
    expect(listing.skipped).toContainEqual({
      file: 'style.gguf',
      reason: expect.stringContaining('an adapter'),
    });
  });

  test('has its models unloaded, loaded and pinned by operators', async () => {
    expect(await (await act('second', 'unload')).json()).toMatchObject({ state: 'unloaded' });
    expect(await (await act('second', 'load')).json()).toMatchObject({ state: 'loaded', pinned: false });
    expect(await (await act('second', 'pin')).json()).toMatchObject({ pinned: true });
    expect((await act('second', 'unload')).status).toBe(400);
    expect(await (await act('second', 'unpin')).json()).toMatchObject({ pinned: false });
  });

  test('takes in files that are added, once they are whole', async () => {
    const whole = readFileSync(DEMO_MODEL);
    const added = live.next('models_changed');
    writeFileSync(at('new.gguf'), whole.subarray(0, -1000));
    expect((await chat('new')).status).toBe(404);
    appendFileSync(at('new.gguf'), whole.subarray(-1000));
    expect(await added).toMatchObject({ added: ['new'], removed: [], replaced: [] });
    expect((await chat('new')).status).toBe(200);
  });

  test('does not disturb replies when files are replaced and removed', async () => {
    const replies = await Promise.all(
      ['new', 'second'].map((model) => begun(live, CHAT, { ...ENDLESS_CHAT, model, max_tokens: 400 })),
    );
    const changed = live.next('models_changed');
    copyFileSync(DEMO_MODEL, at('.next'));
    renameSync(at('.next'), at('new.gguf'));
    expect(await changed).toMatchObject({ replaced: ['new'] });
    const gone = live.next('models_changed');
    rmSync(at('second.gguf'));
    expect(await gone).toMatchObject({ removed: ['second'] });
    expect((await chat('second')).status).toBe(404);
    expect((await chat('new')).status).toBe(200);
    for (const { reply } of replies) expect((await reply).text.endsWith('data: [DONE]\n\n')).toBe(true);
  });
});

describe('a projector beside a model', () => {
  const folder = newFolder();
  let live: LiveServer;

  beforeAll(async () => {
    mkdirSync(join(folder, 'eye'));
    copyFileSync(DEMO_MODEL, join(folder, 'eye/seeing-F16.gguf'));
    await writeProjector(join(folder, 'eye/mmproj-F16.gguf'));
    copyFileSync(DEMO_MODEL, join(folder, 'asleep.gguf'));
    live = await new LiveServer({ LLM_MODELS_DIR: folder }).start();
  });

  afterAll(() => live.stop());

  /** One red pixel. */
  const PNG =
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } };
  const look = user([{ type: 'text', text: 'What is this?' }, image]);

  const source = { type: 'base64', media_type: 'image/png', data: PNG };

  test.each<[string, object]>([
    [CHAT, look],
    [
      '/v1/responses',
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: image.image_url.url }] }] },
    ],
    ['/v1/messages', user([{ type: 'image', source }])],
    ['/v1/messages/count_tokens', user([{ type: 'image', source }])],
    ['/complete', look],
  ])('takes images on %s; another model refuses them by its name', async (path, body) => {
    const ask = (model: string) => post(live, path, { ...body, model, temperature: 0 });
    expect((await ask('seeing-F16')).status).toBe(200);
    const refused = await ask('lmserv-demo');
    expect(refused.status).toBe(400);
    expect(refused.text).toContain('the model lmserv-demo does not take images');
  });

  test('is missed without loading the model', async () => {
    const refused = await post(live, CHAT, { ...look, model: 'asleep' });
    expect(refused.status).toBe(400);
    expect(json(refused).error.message).toBe('messages: the model asleep does not take images');
    const { data } = json(await get(`${live.url}/v1/models`, KEY));
    expect(data.find(({ id }: any) => id === 'asleep').state).toBe('unloaded');
  });

  test('takes a large image, and says so if it cannot be read', async () => {
    const pixel = Buffer.from(PNG, 'base64');
    const sized = (bytes: number) => {
      const url = `data:image/png;base64,${Buffer.concat([pixel, Buffer.alloc(bytes)]).toString('base64')}`;
      return { ...user([{ type: 'image_url', image_url: { url } }]), model: 'seeing-F16', max_tokens: 3 };
    };
    expect((await post(live, CHAT, sized(6_000_000))).status).toBe(200);
    const url = `data:image/png;base64,${'QUJD'.repeat(1_000_000)}`;
    const broken = { ...user([{ type: 'image_url', image_url: { url } }]), model: 'seeing-F16' };
    const refused = await post(live, CHAT, broken);
    expect(refused.status).toBe(400);
    expect(json(refused).error.message).toMatch(/image/);
  });

  test('gives it images, and other models still refuse them', async () => {
    const ask = (model: string) => post(live, CHAT, { ...look, model, max_tokens: 3, temperature: 0 });
    const reply = await ask('seeing-F16');
    expect(reply.status).toBe(200);
    const plain = await post(live, CHAT, { ...user('What is this?'), model: 'seeing-F16', max_tokens: 3 });
    expect(json(reply).usage.prompt_tokens).toBeGreaterThanOrEqual(json(plain).usage.prompt_tokens + 4);
    expect((await ask('lmserv-demo')).status).toBe(400);
    const { data } = json(await get(`${live.url}/v1/models`, KEY));
    const modalities = Object.fromEntries(data.map((model: any) => [model.id, model.input_modalities]));
    expect(modalities).toMatchObject({ 'seeing-F16': ['text', 'image'], 'lmserv-demo': ['text'] });
  });
});

describe('the configuration file', () => {
  const folder = newFolder();
  const adapter = join(folder, 'style.gguf');
  let live: LiveServer;

  beforeAll(async () => {
    await writeAdapter(adapter);
    const config = {
      models: {
        demo: demoModel({
          sampling: { temperature: 0 },
          aliases: [{ name: 'brief', system: 'Be brief. '.repeat(20), sampling: { top_k: 1 } }, 'plain'],
        }),
        styled: demoModel({ sampling: { temperature: 0 }, lora: [{ path: adapter, scale: 8 }] }),
        same: demoModel({ sampling: { temperature: 0 }, lora: [{ path: adapter, scale: 0 }] }),
      },
    };
    live = await new LiveServer((own) => ({ LMSERV_CONFIG: writeConfig(own, config) })).start();
  });

  afterAll(() => live.stop());

  const ask = (model: string, body: object = {}) =>
    post(live, CHAT, { messages, max_tokens: 12, model, ...body });

  test('sets the sampling of a model, which a request may change', async () => {
    const replies = await Promise.all(Array.from({ length: 4 }, () => ask('demo')));
    expect(new Set(replies.map(contentOf)).size).toBe(1);
    const hot = { temperature: 2, top_k: 0, top_p: 1, min_p: 0 };
    const others = await Promise.all(Array.from({ length: 4 }, (_, seed) => ask('demo', { ...hot, seed })));
    expect(new Set(others.map(contentOf)).size).toBeGreaterThan(1);
  });

  test('sets the system message of an alias, which counts as prompt; a request’s own takes its place', async () => {
    const tokens = async (model: string, own: object[] = []) =>
      json(await ask(model, { messages: [...own, ...messages] })).usage.prompt_tokens as number;
    const own = [{ role: 'system', content: 'Hi' }];
    expect(await tokens('plain')).toBe(await tokens('demo'));
    expect(await tokens('brief')).toBeGreaterThan((await tokens('demo')) + 40);
    expect(await tokens('brief', own)).toBe(await tokens('demo', own));
  });

  test('sets them for the other routes too', async () => {
    const body = { prompt: DISH, model: 'brief', max_tokens: 12 };
    const texts = await Promise.all([1, 2, 3].map(() => post(live, '/chat', body)));
    expect(new Set(texts.map((reply) => reply.text)).size).toBe(1);
  });

  test('gives a model an adapter, with its scale', async () => {
    const [demo, styled, same] = [await ask('demo'), await ask('styled'), await ask('same')].map(contentOf);
    expect(styled).not.toBe(demo);
    expect(same).toBe(demo);
  });

  test('is refused with an adapter for other models, or with something else in its place', async () => {
    const other = join(folder, 'other.gguf');
    await writeAdapter(other, 'qwen2');
    const start = (path: string) =>
      new LiveServer((own) => ({
        LMSERV_CONFIG: writeConfig(own, { models: { demo: demoModel({ lora: [{ path }] }) } }),
      })).start();
    await expect(start(other)).rejects.toThrow(
      'is an adapter for models of the architecture qwen2, not llama',
    );
    await expect(start(DEMO_MODEL)).rejects.toThrow('is not a LoRA adapter');
  });
});
