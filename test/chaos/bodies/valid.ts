/** Bodies that every route takes: what the bad ones are made of. */

export interface ValidBody {
  readonly route: string;
  readonly body: object;
}

const user = { role: 'user', content: 'Hi' };
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'f', description: 'Does it', parameters } }];
const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{"city":"Lima"}' } };

/** Every sampling field that is let through, with a harmless value. */
const sampling = {
  ...{
    max_tokens: 1,
    max_completion_tokens: 1,
    n_predict: 1,
    temperature: 0.5,
    top_p: 0.9,
    top_k: 5,
    min_p: 0.1,
  },
  ...{ typical_p: 1, top_n_sigma: -1, xtc_probability: 0, xtc_threshold: 0.1, dynatemp_range: 0 },
  ...{
    dynatemp_exponent: 1,
    repeat_penalty: 1.1,
    repeat_last_n: 8,
    frequency_penalty: 0,
    presence_penalty: 0,
  },
  ...{ dry_multiplier: 0, dry_base: 1.75, dry_allowed_length: 2, dry_penalty_last_n: 8, mirostat: 0 },
  ...{ mirostat_tau: 5, mirostat_eta: 0.1, seed: 7, ignore_eos: false, logit_bias: { '5': 1 }, stop: ['x'] },
};

const others = {
  ...{ model: 'default', n: 1, stream: true, stream_options: { include_usage: true } },
  ...{ reasoning_effort: 'low', chat_template_kwargs: { enable_thinking: false } },
  ...{ id_slot: 0, cache_prompt: false, lora: [], user: 'u', metadata: {} },
};

const format = { type: 'json_schema', json_schema: { name: 'n', strict: true, schema: parameters } };
const task = { provider: 'local', model: 'gpt-4o-mini', temperature: 0, max_tokens: 1, priority: 'high' };

export const VALID: readonly ValidBody[] = [
  {
    route: '/chat',
    body: {
      ...{ prompt: 'Hi', system_prompt: 'Be brief', max_tokens: 1, temperature: 0.5, top_p: 0.9 },
      ...{ repeat_penalty: 1.1, model: 'default' },
    },
  },
  { route: '/llm', body: { prompt: 'Hi', max_tokens: 1, temperature: 0.7, model: 'default' } },
  { route: '/llm', body: { task: 'chat_completion', input: { prompt: 'Hi' }, ...task } },
  { route: '/llm', body: { task: 'parse_price_list', input: { text: 'a 1' }, schema: parameters, ...task } },
  { route: '/v1/chat/completions', body: { messages: [user], ...sampling, ...others } },
  {
    route: '/v1/chat/completions',
    body: {
      messages: [
        { role: 'system', content: [{ type: 'text', text: 'Be brief' }] },
        user,
        { role: 'assistant', content: null, reasoning_content: 'r', tool_calls: [call] },
        { role: 'tool', tool_call_id: 'c', content: '18' },
      ],
      ...{ tools, tool_choice: 'auto', parallel_tool_calls: false, max_tokens: 1 },
    },
  },
  {
    route: '/v1/chat/completions',
    body: {
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
      ...{ response_format: format, logprobs: true, top_logprobs: 2, max_tokens: 1 },
    },
  },
  {
    route: '/v1/chat/completions',
    body: {
      messages: [
        { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] },
      ],
      ...{ grammar: 'root ::= "a" | "b"', max_tokens: 1 },
    },
  },
  {
    route: '/v1/completions',
    body: { prompt: [72, 105], logprobs: 2, echo: false, suffix: '', best_of: 1, ...sampling, ...others },
  },
  { route: '/v1/completions', body: { prompt: ['Hi'], max_tokens: 1, stream: false } },
  {
    route: '/complete',
    body: {
      model: 'quality',
      messages: [user],
      tenant_id: 't',
      tools,
      tool_choice: 'required',
      max_tokens: 1,
    },
  },
  { route: '/complete/stream', body: { model: 'fast', messages: [user], tenant_id: 't', max_tokens: 1 } },
  {
    route: '/execute',
    body: {
      prompt: 'Hi',
      config: {
        ...{ model_name: 'gpt-4', temperature: 0.7, max_tokens: 1, timeout_seconds: 300, task_type: 't' },
        ...{ max_depth: 2, model_params: { top_k: 5, reasoning_effort: 'low' } },
      },
    },
  },
];

export const ROUTES: readonly string[] = [...new Set(VALID.map(({ route }) => route))];
