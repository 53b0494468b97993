import { post, saying } from '../../support/app.js';
import { CLAUDE_CODE_HEADERS, claudeCodeBodies } from '../../support/claude-code.js';

/** Requests that Claude Code sent: each is served, and begins as the one before it, so that it is found in the prefix cache. */

test('what Claude Code sends is a conversation that only grows', async () => {
  const generate = saying('x');
  for (const body of claudeCodeBodies) {
    const reply = await post('/v1/messages?beta=true', body, { generate })
      .set(CLAUDE_CODE_HEADERS)
      .expect(200);
    expect(reply.text).toContain('event: message_stop');
  }
  const sent = generate.requests.map(({ body }) => body);
  for (const field of ['messages', 'tools']) {
    const lists = sent.map((body) => body[field] as object[]);
    for (const [number, list] of lists.slice(1).entries())
      expect(list.slice(0, lists[number]!.length)).toEqual(lists[number]);
  }
  expect(JSON.stringify(sent)).not.toContain('billing');
  expect(sent[0]).toMatchObject({ max_tokens: 32_000, reasoning_effort: 'high' });
  const roles = (sent.at(-1)!.messages as { role: string }[]).map(({ role }) => role);
  const rounds = Array.from({ length: 4 }, () => ['assistant', 'tool']).flat();
  // The image that it read is shown after the result.
  rounds.splice(6, 0, 'user');
  expect(roles).toEqual(['system', 'user', 'system', ...rounds, 'assistant', 'user']);
});

test('a tool that Claude Code has not loaded is not offered', async () => {
  const generate = saying('x');
  for (const body of claudeCodeBodies) await post('/v1/messages', body, { generate }).expect(200);
  const names = generate.requests.map(({ body }) => (body.tools as any[]).map((tool) => tool.function.name));
  expect(names[0]).toEqual(['Bash', 'Read', 'ToolSearch', 'Write']);
  expect(names[1]).toEqual([...names[0]!, 'WebFetch']);
});
