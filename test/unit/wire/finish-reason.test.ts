import { readFinishReason, strongerReason } from '../../../src/wire/finish-reason.js';

test.each([
  ['stop', 'stop STOP eos eos_token end_turn endTurn stop_sequence COMPLETE endoftext'],
  ['stop', 'FinishReason.STOP FINISH_REASON_STOP'],
  ['length', 'length max_tokens MAX_TOKENS maxTokens model_length max_output_tokens token_limit'],
  ['length', 'model_context_window_exceeded FinishReason.MAX_TOKENS'],
  ['tool_calls', 'tool_calls tool-calls tool_call TOOL_CALL tool_use function_call'],
  ['content_filter', 'content_filter content-filter SAFETY recitation RECITATION BLOCKLIST SPII'],
  ['content_filter', 'PROHIBITED_CONTENT refusal sensitive content_filtered guardrail_intervened'],
])('%s is also said %s', (reason, names) => {
  for (const name of names.split(' ')) expect([name, readFinishReason(name)]).toEqual([name, reason]);
  expect(readFinishReason(` ${reason} `)).toBe(reason);
});

test.each([undefined, null, '', ' ', 'null', 'NULL', 'not_finished'])('%j is no finish', (raw) => {
  expect(readFinishReason(raw)).toBeUndefined();
});

test.each([
  ...'abort aborted insufficient_system_resource error ERROR cancelled canceled USER_CANCEL'.split(' '),
  ...'timeout time_limit network_error load unload pause_turn MALFORMED_FUNCTION_CALL OTHER'.split(' '),
  ...'FINISH_REASON_UNSPECIFIED unknown ERROR_LIMIT constructor __proto__ 💥'.split(' '),
  ...['stopped early', 5, 0, true, false, {}, [], { type: 'stop' }],
])('%j is an error, not a stop', (raw) => {
  expect(readFinishReason(raw)).toBe('unknown');
});

test.each([
  [undefined, 'stop', 'stop'],
  ['stop', 'length', 'length'],
  ['length', 'stop', 'length'],
  ['tool_calls', 'stop', 'tool_calls'],
  ['tool_calls', 'length', 'length'],
  ['content_filter', 'stop', 'content_filter'],
] as const)('of %s and %s, %s says more', (a, b, stronger) => {
  expect(strongerReason(a, b)).toBe(stronger);
});
