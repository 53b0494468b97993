import type { JsonObject } from '../../../contract.js';

/** How tools, calls and results read where a model's template has no form of its own for them. */

interface NamedCall {
  readonly name: string;
  readonly arguments: string;
}

/** Describes the tools and, if asked, how to call one. */
export function toolsText(tools: readonly JsonObject[], withForm: boolean): string {
  const described = tools.map((tool) => JSON.stringify(tool.function));
  const lines = ['You can call these functions:', ...described];
  if (withForm) lines.push(`To call one, reply with ${callText({ name: '…', arguments: '{…}' })}`);
  return lines.join('\n');
}

/** A call, in the form that most models have seen. */
export function callText({ name, arguments: json }: NamedCall): string {
  return `<tool_call>{"name": ${JSON.stringify(name)}, "arguments": ${json}}</tool_call>`;
}

/** A result, with the name of its function if that is known. */
export function resultText({ content, name }: JsonObject): string {
  const text = Array.isArray(content)
    ? (content as { text?: string }[]).map((part) => part.text ?? '').join('\n')
    : ((content as string | null) ?? '');
  return `Result of ${typeof name === 'string' ? name : 'a function'}:\n${text}`;
}
