/** `lmserv models`: the models of a running server, and which of them are in memory. */

import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text as readText } from 'node:stream/consumers';
import { Catalogue, catalogueOptions } from '../catalogue/catalogue.js';
import { fileFacts } from '../catalogue/facts.js';
import type { Unusable } from '../catalogue/look.js';
import { resolveTarget, type Env } from '../client/target.js';
import { loadConfig } from '../config/load.js';
import { isOnHub } from '../config/model-path.js';
import { UserError } from '../errors.js';
import { interruptible } from '../install/early/interrupt.mjs';
import { inspectModel } from '../install/models/inspect.js';
import { formatBytes, formatSeconds } from '../install/progress.js';
import { clientOptionsForAsk } from './ask.js';

export type Action = 'load' | 'unload' | 'pin' | 'unpin';

/** A model as the server lists it. */
interface Listed {
  readonly id: string;
  readonly state: string;
  readonly pinned?: boolean;
  readonly load_ms?: number | null;
  readonly error?: string | null;
  readonly size_bytes?: number | null;
  readonly quantization?: string | null;
  readonly context_length?: number | null;
}

interface Listing {
  readonly data: readonly Listed[];
  readonly skipped: readonly { readonly file: string; readonly reason: string }[];
}

/** What a running server serves; without one, what it would serve. */
export async function listModels(env: Env): Promise<string> {
  const reply = await ask(env, 'GET', '/admin/models');
  if (reply) return format(reply as Listing);
  return `No server runs here. It would serve:\n\n${format(await unstarted(env))}`;
}

/** Has the server change a model, and says what became of it. */
export async function changeModel(action: Action, name: string, env: Env): Promise<string> {
  const path = `/admin/models/${encodeURIComponent(name)}/${action}`;
  const known = action === 'load' ? await loadTime(name, env) : undefined;
  const shown =
    action === 'load' || action === 'unload' ? showTime(`${capital(action)}ing ${name}`, known) : undefined;
  try {
    const reply = await interruptible(
      (signal) => ask(env, 'POST', path, signal),
      `The server goes on; see lmserv models.`,
    );
    if (!reply) throw new UserError('no server runs here; start one with lmserv serve, or set LLM_BASE_URL');
    const { id, state, pinned } = reply as Listed;
    return `${id}: ${state}${pinned ? ', pinned' : ''}`;
  } finally {
    shown?.();
  }
}

const capital = (word: string): string => word[0]!.toUpperCase() + word.slice(1);

/** How long the last load took, milliseconds. */
async function loadTime(name: string, env: Env): Promise<number | undefined> {
  const reply = (await ask(env, 'GET', '/admin/models')) as Listing | undefined;
  return reply?.data.find(({ id }) => id === name)?.load_ms ?? undefined;
}

const SECOND_MS = 1_000;

/** Counts the seconds on a terminal until the returned function is called. @param expectedMs the time it may take. */
function showTime(label: string, expectedMs: number | undefined, stream = process.stderr): () => void {
  if (!stream.isTTY) return () => undefined;
  const began = performance.now();
  const of = expectedMs === undefined ? '' : ` of about ${formatSeconds(expectedMs / SECOND_MS)}`;
  const show = () =>
    stream.write(`\r${label} … ${formatSeconds((performance.now() - began) / SECOND_MS)}${of} `);
  show();
  const timer = setInterval(show, SECOND_MS);
  return () => {
    clearInterval(timer);
    stream.write('\r\u001b[K');
  };
}

/** The JSON of a reply; undefined when no server listens. Loading may take minutes, so there is no time limit. */
function ask(env: Env, method: 'GET' | 'POST', path: string, signal?: AbortSignal): Promise<unknown> {
  const { url, apiKey } = resolveTarget({ ...clientOptionsForAsk(env), provider: 'lan' });
  const target = new URL(url.replace(/\/v1\/chat\/completions$/, path));
  const send = target.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const options = {
      method,
      agent: false,
      headers: apiKey === undefined ? {} : { 'X-API-Key': apiKey },
      signal,
    };
    const request = send(target, options, (response) => {
      readText(response)
        .then((body) => resolve(readReply(response.statusCode!, body, target)))
        .catch(reject);
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') resolve(undefined);
      else reject(signal?.aborted ? error : new UserError(`no answer from ${target.origin} (${error.code})`));
    });
    request.end();
  });
}

/** @throws UserError with the server's message. */
function readReply(status: number, body: string, { origin }: URL): unknown {
  let json: { readonly error?: { readonly message?: string } };
  try {
    json = JSON.parse(body) as typeof json;
  } catch {
    throw new UserError(`${origin} is not an LMServ of this version (status ${status})`);
  }
  if (status === 200) return json;
  const todo = status === 401 || status === 403 ? '; set LLM_API_KEY to an admin key of this server' : '';
  throw new UserError(`${json.error?.message ?? `${origin} answered with status ${status}`}${todo}`);
}

/** What the server would serve from here. */
async function unstarted(env: Env): Promise<Listing> {
  const config = loadConfig({}, { env });
  const catalogue = await Catalogue.open(config.file, catalogueOptions(config));
  const data = await Promise.all(
    Object.entries(catalogue.file.models).map(async ([id, { path, context }]): Promise<Listed> => {
      const common = { id, context_length: context };
      if (isOnHub(path)) return { ...common, state: 'to be fetched' };
      try {
        const { header, size } = await inspectModel(path);
        const { quantization = null } = fileFacts(header);
        return { ...common, state: 'unloaded', size_bytes: size, quantization };
      } catch (error) {
        return { ...common, state: 'failed', error: (error as Error).message };
      }
    }),
  );
  return { data, skipped: catalogue.unusable.map(toSkipped) };
}

const toSkipped = ({ shown, reason }: Unusable) => ({ file: shown, reason });

function format({ data, skipped }: Listing): string {
  const rows = data.map((model) => [
    model.id,
    model.state,
    model.size_bytes == null ? '-' : formatBytes(model.size_bytes),
    model.quantization ?? '-',
    model.context_length?.toString() ?? '-',
    model.pinned ? 'yes' : 'no',
    model.error ?? '',
  ]);
  const table = [['NAME', 'STATE', 'SIZE', 'QUANTISATION', 'CONTEXT', 'PINNED', ''], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
  const others = skipped.map(({ file, reason }) => `  ${file}: ${reason}`);
  return [...lines, ...(others.length > 0 ? ['', 'Other files:', ...others] : [])].map(printable).join('\n');
}

/** A file's name may hold anything, and escape sequences would rewrite the screen. */
const printable = (line: string): string => line.replace(/\p{Cc}/gu, ' ');
