/** Taking credentials and clients' words out of what a remote server wrote, before anybody sees or logs it. Pure. */

const GONE = '[redacted]';

/** Everything a credential may look like, whether or not it is one of ours. The first group, if any, is kept. */
const SHAPES: readonly RegExp[] = [
  // `Authorization: Bearer abc`, `"x-api-key":"abc"`
  /(\b(?:proxy-)?authorization\b["']?\s*[:=]\s*["']?)(?:[a-z]+ +)?[^\s"',;}]+/gi,
  /(\b(?:x-)?(?:goog-)?api[-_ ]?key\b["']?\s*[:=]\s*["']?)[^\s"',;}&]+/gi,
  /(\b(?:bearer|basic) +)[\w.~+/=*-]{4,}/gi,
  // `?key=abc`, `&access_token=abc`
  /([?&](?:[\w-]*key|[\w-]*token|sig|signature|secret|password)=)[^&\s"'#<>]+/gi,
  // `https://user:password@host`
  /(:\/\/)[^\s/@"']+(?=@)/g,
  // Keys as OpenAI, Anthropic, OpenRouter, Groq, xAI, Hugging Face, Google and LMServ make them, masked ones included.
  /\b(?:sk|pk|rk|gsk|xai|hf|lms|ghp|nvapi)[-_][\w*.-]{3,}/g,
  /\bAIza[\w*-]{10,}/g,
  // JSON web tokens
  /\beyJ[\w-]{8,}\.[\w.-]+/g,
];

/** Control characters would let a remote server write lines of its own into a terminal. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]+/g;

export type Redact = (text: string) => string;

/**
 * A function that replaces credentials by `[redacted]`: the given ones wherever they stand, also as they look in a
 * URL, in JSON and in base64, and whatever else has the shape of one.
 */
export function createRedactor(secrets: readonly string[]): Redact {
  const literal = secrets.filter((secret) => secret !== '').flatMap(spellings);
  literal.sort((a, b) => b.length - a.length);
  return (text) => {
    let clean = text;
    for (const secret of literal) clean = clean.replaceAll(secret, GONE);
    for (const shape of SHAPES) {
      // A group that is not there is passed as the position of the match, a number.
      clean = clean.replace(shape, (_match, kept: unknown) => (typeof kept === 'string' ? kept : '') + GONE);
    }
    return clean.replace(CONTROL, ' ');
  };
}

function spellings(secret: string): string[] {
  const base64 = Buffer.from(secret).toString('base64');
  return [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1), base64.replace(/=+$/, '')];
}
