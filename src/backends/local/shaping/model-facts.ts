import type { Capability, ModelFacts } from '../../../contract.js';
import type { Worker } from '../../../../workers/worker.js';
import type { HandlerFacts, TemplateFacts } from './facts.js';

/** What llama.cpp says about its model. */
interface Models {
  readonly data?: readonly { readonly meta?: Meta | null }[];
}

interface Meta {
  readonly n_ctx?: number;
  readonly n_params?: number;
  readonly size?: number;
  readonly ftype?: string;
}

/** What a worker knows of its model, with what was learned of its template. @throws as `Worker.fetch`. */
export async function readFacts(
  worker: Worker,
  template: TemplateFacts | undefined,
  handler: HandlerFacts | undefined,
  signal: AbortSignal,
): Promise<ModelFacts> {
  const { data } = (await worker.fetch('GET', '/v1/models', undefined, signal)) as Models;
  const { n_params: parameters, size, ftype } = data?.[0]?.meta ?? {};
  return {
    capabilities: capabilitiesOf(template, handler, worker.supportsImages),
    contextLength: worker.options.ctxSize,
    sizeBytes: size,
    quantization: ftype,
    parameters,
  };
}

/** Only what is proven: a model calls tools if its template shows them and its handler reads the calls. */
function capabilitiesOf(
  template: TemplateFacts | undefined,
  handler: HandlerFacts | undefined,
  images: boolean,
): Capability[] {
  const capable: Record<Capability, boolean> = {
    chat: true,
    completion: true,
    tools: template?.toolTurns === true && handler?.calls === true,
    json_schema: handler !== undefined,
    reasoning: handler?.reasoning === true,
    images,
  };
  return (Object.keys(capable) as Capability[]).filter((capability) => capable[capability]);
}
