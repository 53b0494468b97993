import type { LMServError } from '../../errors.js';

/** Ollama's error, `{error: message}`. */
export function ollamaError({ code, message }: LMServError): { error: string } {
  // Clients look for these words.
  return { error: code === 'model_not_found' ? `model not found: ${message}` : message };
}

export const errorBody = (error: LMServError) => ({ body: ollamaError(error) });
