/** Provider `local`: the prompt form of `POST /llm`, which goes to the model without a chat template. */

import { Deadline } from './deadline.js';
import { invalidResponse, post, readJson } from './http.js';
import { record } from './server-message.js';
import type { Call, Piece, Provider, Target } from './types.js';

export const raw: Provider = { complete, stream };

async function complete(target: Target, call: Call): Promise<Piece> {
  const deadline = new Deadline(call.timeoutMs, call.signal);
  try {
    return await deadline.run(async () => {
      const response = await post(target, body(call), deadline);
      const text = record(await readJson(target, response, deadline))['completion'];
      if (typeof text !== 'string') throw invalidResponse(target, response, 'the answer holds no completion');
      return { text };
    });
  } finally {
    deadline.close();
  }
}

/** The route does not stream, so the whole answer is the one piece. */
async function* stream(target: Target, call: Call): AsyncGenerator<Piece> {
  yield await complete(target, call);
}

function body(call: Call): object {
  return {
    prompt: call.system === undefined ? call.prompt : `${call.system}\n\n${call.prompt}`,
    max_tokens: call.maxTokens,
    temperature: call.temperature,
  };
}
