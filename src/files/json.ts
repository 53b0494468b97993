/** Not valid JSON. The message gives line and column where Node tells them, and never quotes the text. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
}

/** Parses JSON, which may begin with a byte order mark. @throws JsonError. */
export function parseJson(text: string): unknown {
  const json = text.replace(/^\uFEFF/, '');
  try {
    return JSON.parse(json);
  } catch (error) {
    // No cause: Node's message quotes the text.
    throw new JsonError(`is not valid JSON${describePlace(json, String(error))}`);
  }
}

function describePlace(json: string, message: string): string {
  const position = / at position (\d+)/.exec(message)?.[1];
  if (position === undefined) return /end of JSON/.test(message) ? ' (it ends too early)' : '';
  const lines = json.slice(0, Number(position)).split('\n');
  return ` (line ${lines.length}, column ${lines.at(-1)!.length + 1})`;
}
