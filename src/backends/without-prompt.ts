import type { JsonObject } from '../contract.js';

/** Shorter texts of a client's are too common to be told from a server's own words. Characters. */
const SHORTEST_TEXT = 4;

/** Servers and workers may quote the request in errors; this replaces what the client wrote by `[prompt]`. */
export function withoutPrompt(text: string, body: JsonObject): string {
  const texts: string[] = [];
  const walk = (value: unknown): void => {
    if (typeof value === 'string' && value.length >= SHORTEST_TEXT) texts.push(value);
    else if (value !== null && typeof value === 'object') Object.values(value).forEach(walk);
  };
  walk([body.prompt, contents(body.messages)]);
  texts.sort((a, b) => b.length - a.length);
  return texts.reduce((clean, part) => clean.replaceAll(part, '[prompt]'), text);
}

/** Only what was said: roles are words that errors need. */
function contents(messages: unknown): unknown {
  if (!Array.isArray(messages)) return [];
  return (messages as JsonObject[]).map(({ content, reasoning_content, tool_calls }) => [
    typeof content === 'string' || !Array.isArray(content) ? content : content.map(partText),
    reasoning_content,
    tool_calls,
  ]);
}

function partText(part: unknown): unknown {
  const { text, image_url: image } = part as { text?: string; image_url?: { url?: string } };
  return text ?? image?.url;
}
