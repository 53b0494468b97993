import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../src/config/root.js';

/**
 * What Claude Code 2.1.332 sent in one session, without personal details and with its long texts cut: its first request,
 * the one after it had loaded a tool, and the first of its user's next turn.
 */
const recorded = JSON.parse(readFileSync(join(ROOT, 'test/recorded/claude-code.json'), 'utf8')) as {
  readonly headers: Record<string, string>;
  readonly common: object & { readonly system: readonly { readonly text: string }[] };
  readonly tools: readonly { readonly name: string }[];
  readonly requests: readonly { readonly tools: readonly string[]; readonly messages: readonly object[] }[];
};

export const CLAUDE_CODE_HEADERS = recorded.headers;

/** The bodies of its requests. As in other versions, the billing line is different in each of them. */
export const claudeCodeBodies: readonly object[] = recorded.requests.map(({ tools, messages }, number) => {
  const [billing, ...system] = recorded.common.system;
  const text = `${billing!.text} cch=${String(number).repeat(5)};`;
  return {
    ...recorded.common,
    system: [{ ...billing, text }, ...system],
    tools: recorded.tools.filter(({ name }) => tools.includes(name)),
    messages,
  };
});
