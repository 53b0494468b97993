/** Where warnings go by default: Node's own warnings, which `--no-warnings` and `process.on('warning')` know. */
export function emitWarning(message: string): void {
  const { process } = globalThis as { process?: Partial<NodeJS.Process> };
  if (typeof process?.emitWarning === 'function') process.emitWarning(message, 'LLMClientWarning');
  else console.warn(`lmserv/client: ${message}`);
}
