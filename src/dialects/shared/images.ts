import { text } from './fields.js';

/** Images come as data: a worker would fetch any other URL from inside the network. */

const TYPE = /image\/[\w.+-]{1,64}/.source;

export const imageType = text.regex(new RegExp(`^${TYPE}$`), 'must be that of an image');

/** Whether it is all base64, and an image, its decoder finds out: 20 MB are not read without need. */
const BEGINNING = /[\w+/-]/.source;

export const imageData = text.regex(new RegExp(`^${BEGINNING}`), 'must be base64');

export const imageUrl = text.regex(
  new RegExp(`^data:${TYPE};base64,${BEGINNING}`),
  'must be a data: URL of an image in base64; other URLs are not fetched',
);

/** Number of characters of the images in the contents of messages, in OpenAI's and Anthropic's forms. */
export function imagesIn(messages: unknown): number {
  return sum(messages, (message) => imagesOf(message) + sum(contentOf(message), imagesOf));
}

interface Part {
  readonly type?: unknown;
  readonly image_url?: { readonly url?: unknown } | string | null;
  readonly source?: { readonly data?: unknown } | null;
}

/** Of the parts of a message, or of a tool's result among them. */
function imagesOf(holder: unknown): number {
  return sum(contentOf(holder), (part) => {
    const { type, image_url: image, source } = (part ?? {}) as Part;
    const data = type === 'image' ? source?.data : typeof image === 'object' ? image?.url : image;
    return typeof data === 'string' ? data.length : 0;
  });
}

/** What a message holds; `output` is that of a tool in OpenAI's Responses. */
function contentOf(holder: unknown): unknown {
  const { content, output } = (holder ?? {}) as { content?: unknown; output?: unknown };
  return content ?? output;
}

function sum(list: unknown, lengthOf: (item: unknown) => number): number {
  return Array.isArray(list) ? list.reduce<number>((total, item) => total + lengthOf(item), 0) : 0;
}
