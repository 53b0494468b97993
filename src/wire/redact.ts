/** Removes credentials from a text for a client or a log. Pure; each pattern runs in linear time. */

export const REDACTED = '[redacted]';

/** Names that hold a credential, as a header, a JSON field or a URL parameter. */
const FIELDS =
  'x-goog-api-key|x-api-key|api[-_]?key|access[-_]?key|access[-_]?token|token|auth|client[-_]?secret|secret|password|signature|sig';

const RULES: readonly (readonly [RegExp, string])[] = [
  // https://user:password@host
  [/(\/\/)[^\s/?#@"'<>]{1,512}@/g, `$1${REDACTED}@`],
  // ?key=…, &access_token=…
  [new RegExp(`([?&](?:key|${FIELDS})=)[^&#\\s"'<>]+`, 'gi'), `$1${REDACTED}`],
  // Authorization: Basic …, as a header, a JSON field or a Python dictionary
  [
    /(\b(?:proxy-)?authorization["']?\s{0,8}[:=]\s{0,8}["']?)(?:(?:bearer|basic|token)\s{1,8})?[^\s"',;}]+/gi,
    `$1${REDACTED}`,
  ],
  [/(\b(?:bearer|basic)\s{1,8})[\w.~+/=*-]{4,}/gi, `$1${REDACTED}`],
  // x-api-key: …, "api_key": "…"
  [new RegExp(`(\\b(?:${FIELDS})["']?\\s{0,8}[:=]\\s{0,8}["']?)[^\\s"',;&}]+`, 'gi'), `$1${REDACTED}`],
  // Keys with a known prefix: OpenAI, Anthropic, OpenRouter, Hugging Face, Groq, xAI, GitHub, Google, LMServ
  [/\b(?:sk|pk|rk|gsk|xai|hf|lms|gh[opusr]|nvapi)[-_][\w*.-]{2,}[\w*-]/g, REDACTED],
  [/\bAIza[\w*-]{10,}/g, REDACTED],
  // JSON web tokens; without a bound each `eyJ` would be followed to the end of the text
  [/\beyJ[\w-]{8,1024}\.[\w.-]+/g, REDACTED],
];

/** The text without keys, tokens and passwords: in URLs (`?key=[redacted]`), headers and on their own. */
export function redact(text: string): string {
  return RULES.reduce((clean, [pattern, replacement]) => clean.replace(pattern, replacement), text);
}
