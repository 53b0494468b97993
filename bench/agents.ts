import { type AgentRequest, claudeCode, codex } from '../test/harness/agents.js';
import { KEY, type ServerProcess } from '../test/harness/server-process.js';
import { UserError } from '../src/errors.js';
import { type Benchmark, measureModels, withOwned } from './benchmark.js';
import type { BenchModel } from './model/models.js';
import { formatTable, toFigures } from './report.js';
import { startServer, workerUrl } from './server.js';
import { sum } from './statistics.js';

const AGENTS = { 'Claude Code': claudeCode, Codex: codex } as const;

/** The share of each prompt that is found in the prefix cache, in conversations of coding agents. */
export const agents: Benchmark = {
  summary: 'cached prompt tokens in conversations of Claude Code and Codex: LMServ against llama.cpp alone',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context.signal));
    return { text: table(figures.rows), figures: toFigures(figures) as object };
  },
};

interface Row {
  readonly model: string;
  readonly agent: string;
  /** Counted from 1; requests beside the conversation have none. */
  readonly turn: number;
  readonly change: string | undefined;
  readonly direct: Counted;
  readonly lmserv: Counted;
  /** Where LMServ says that the prompt departs from an earlier one. */
  readonly departure: string | undefined;
}

interface Counted {
  readonly prompt: number;
  readonly cached: number;
}

async function measureModel(model: BenchModel, signal: AbortSignal): Promise<Row[]> {
  const settings = {
    LLM_MODEL_PATH: model.path,
    LLM_WORKERS: '1',
    LLM_SLOTS: '1',
    LLM_CTX_SIZE: '32768',
    CACHE_RAM_MB: '1024',
    // The demo model says that it was made for 4,096; its words do not matter here.
    LLM_EXTRA_ARGS: '--ignore-eos --override-kv llama.context_length=int:32768',
    LOG_LEVEL: 'debug',
  };
  const rows: Row[] = [];
  for (const [agent, requestsOf] of Object.entries(AGENTS)) {
    const requests = requestsOf();
    const [direct, lmserv] = await withOwned(async (own) => {
      // Each has a worker of its own, or one would find what the other has left.
      const alone = workerUrl(own(await startServer({ settings, signal })));
      const server = own(await startServer({ settings, signal }));
      return [await hold(alone, requests, signal), await hold(server.url, requests, signal, server)];
    });
    let turn = 0;
    for (const [at, { change, aside }] of requests.entries()) {
      if (aside) continue;
      const { departure, ...counted } = lmserv[at]!;
      rows.push({
        model: model.name,
        agent,
        turn: (turn += 1),
        change,
        direct: direct[at]!,
        lmserv: counted,
        departure,
      });
    }
  }
  return rows;
}

type Held = Counted & { readonly departure: string | undefined };

/** @param server whose log tells where prompts depart. */
async function hold(
  url: string,
  requests: readonly AgentRequest[],
  signal: AbortSignal,
  server?: ServerProcess,
): Promise<Held[]> {
  const held: Held[] = [];
  for (const { path, body } of requests) {
    const started = server?.next('generation_started');
    const headers = { 'content-type': 'application/json', 'x-api-key': KEY, connection: 'close' };
    const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body), signal });
    const text = await response.text();
    if (!response.ok) throw new UserError(`${url}${path} replied ${response.status}: ${text.slice(0, 300)}`);
    const { departure } = ((await started) ?? {}) as { departure?: { at: number; in: string[] } };
    const shown = departure && `${departure.in.join(', ')} (${departure.at})`;
    held.push({ ...countsOf((JSON.parse(text) as { usage: Usage }).usage), departure: shown });
  }
  return held;
}

/** Anthropic counts cached tokens apart, OpenAI with the others. */
interface Usage {
  readonly input_tokens: number;
  readonly cache_read_input_tokens?: number;
  readonly input_tokens_details?: { readonly cached_tokens?: number };
}

function countsOf({
  input_tokens: input,
  cache_read_input_tokens: read,
  input_tokens_details: details,
}: Usage): Counted {
  if (read !== undefined) return { prompt: input + read, cached: read };
  return { prompt: input, cached: details?.cached_tokens ?? 0 };
}

const share = ({ prompt, cached }: Counted): string => `${Math.round((100 * cached) / prompt)} %`;

function table(rows: readonly Row[]): string {
  const head = [
    'agent',
    'turn',
    'prompt',
    'llama.cpp',
    'LMServ',
    'departs in (at character)',
    'what changed',
  ];
  const lines = rows.map(({ agent, turn, direct, lmserv, departure, change }) => [
    agent,
    String(turn),
    String(lmserv.prompt),
    share(direct),
    share(lmserv),
    departure ?? '',
    change ?? '',
  ]);
  const totals = Object.keys(AGENTS).map((agent) => {
    const later = rows.filter((row) => row.agent === agent && row.turn > 1);
    const total = (counted: readonly Counted[]) => ({
      prompt: sum(counted.map(({ prompt }) => prompt)),
      cached: sum(counted.map(({ cached }) => cached)),
    });
    const all = total(later.map(({ lmserv }) => lmserv));
    return [
      agent,
      'later',
      String(all.prompt),
      share(total(later.map(({ direct }) => direct))),
      share(all),
      '',
      '',
    ];
  });
  return formatTable(head, [...lines, ...totals]);
}
