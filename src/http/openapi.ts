import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Dialect, RouteDescription } from '../dialects/shared/dialect.js';
import { inputSchemas, type InputSchema } from '../dialects/shared/input-schema.js';
import { ERRORS, LMServError } from '../errors.js';
import type { Route } from './routes.js';

/** A route that generates nothing. */
interface PlainRoute
  extends Pick<RouteDescription, 'summary' | 'replies'>, Partial<Pick<RouteDescription, 'body' | 'example'>> {
  /** As Express has it. */
  readonly path: string;
  /** Default: get. */
  readonly method?: 'post' | 'put' | 'delete';
  /** It needs no key. */
  readonly open?: boolean;
}

const JSON_ONLY = ['application/json'];

const PLAIN: readonly PlainRoute[] = [
  { path: '/', summary: 'Says that LMServ is running', replies: ['text/plain'], open: true },
  {
    path: '/health',
    summary: 'Health, 503 while nothing can be served',
    replies: ['text/plain', 'application/json'],
    open: true,
  },
  { path: '/ready', summary: 'Health, always in JSON', replies: JSON_ONLY, open: true },
  { path: '/openapi.json', summary: 'This description', replies: JSON_ONLY, open: true },
  { path: '/docs', summary: 'This description as a page', replies: ['text/html'], open: true },
  { path: '/metrics', summary: 'Metrics for Prometheus', replies: ['text/plain'] },
  { path: '/v1/models', summary: 'Models, groups and what they can do', replies: JSON_ONLY },
  { path: '/v1/models/*id', summary: 'One model or group', replies: JSON_ONLY },
  {
    path: '/usage',
    summary: 'Usage by tenant, model and day; the query takes from, to, tenant and format',
    replies: ['application/json', 'text/csv'],
  },
  { path: '/api/version', summary: 'The version of Ollama whose API this is', replies: JSON_ONLY },
  { path: '/api/tags', summary: 'Models, as Ollama lists them', replies: JSON_ONLY },
  { path: '/api/ps', summary: 'Loaded models, as Ollama lists them', replies: JSON_ONLY },
  {
    path: '/api/show',
    method: 'post',
    summary: 'One model, as Ollama shows it; `model` is its name',
    replies: JSON_ONLY,
  },
  {
    path: '/admin/models',
    summary: 'Local models and their place in memory, for admins',
    replies: JSON_ONLY,
  },
  {
    path: '/admin/models/:id/:action',
    method: 'post',
    summary: 'Does load, unload, pin or unpin to a local model, for admins',
    replies: JSON_ONLY,
  },
];

/** An OpenAPI 3.1 document of all routes, from the schemas that validate their bodies; made in steps of one route. */
export async function describeApi(routes: readonly Route[], version: string): Promise<object> {
  const paths: Record<string, Record<string, object>> = {};
  const add = (method: string, path: string, described: object) => {
    paths[pathOf(path)] = { ...paths[pathOf(path)], [method]: described };
  };
  const of = inputSchemas();
  for (const { path, dialect } of routes) {
    add('post', path, operation(dialect, of));
    await nextTurn();
  }
  for (const route of PLAIN) add(route.method ?? 'get', route.path, plainOperation(route, of));
  return {
    openapi: '3.1.0',
    info: { title: 'LMServ', version, description: 'What a route does with its fields is in docs/api-*.md.' },
    servers: [{ url: '/' }],
    security: [{ key: [] }, { bearer: [] }],
    paths,
    components: {
      securitySchemes: {
        key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        bearer: { type: 'http', scheme: 'bearer' },
      },
      parameters: HEADERS,
      responses: { Error: errorResponse() },
    },
  };
}

/** Express's `:id` and `*id` are `{id}`. */
function pathOf(path: string): string {
  return path.replace(/[:*](\w+)/g, '{$1}');
}

const HEADERS = {
  Priority: header('X-Priority', ['interactive', 'batch']),
  Resume: header('X-Reply-Resume', ['on', 'off']),
  QueueEvents: header('X-Queue-Events', ['on', 'off']),
};

function header(name: string, values: readonly string[]) {
  return { name, in: 'header', schema: { type: 'string', enum: values } };
}

function operation(dialect: Dialect, of: InputSchema) {
  const { summary = '', body, example, replies = [] }: Partial<RouteDescription> = dialect.description ?? {};
  return {
    tags: ['Models'],
    summary,
    parameters: Object.keys(HEADERS).map((name) => ({ $ref: `#/components/parameters/${name}` })),
    requestBody: requestBody(body ? of(body) : {}, example),
    responses: { 200: reply(replies), default: errorOf(dialect) },
  };
}

function plainOperation({ path, summary, replies, body, example, open }: PlainRoute, of: InputSchema) {
  const names = [...path.matchAll(/[:*](\w+)/g)].map(([, name]) => name);
  return {
    tags: ['Server'],
    summary,
    ...(open && { security: [] }),
    parameters: names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    ...(body && { requestBody: requestBody(of(body), example) }),
    responses: { 200: reply(replies), default: { $ref: '#/components/responses/Error' } },
  };
}

function requestBody(schema: object, example: object | undefined) {
  return { required: true, content: { 'application/json': { schema, ...(example && { example }) } } };
}

function reply(types: readonly string[]) {
  return { description: 'The reply', content: Object.fromEntries(types.map((type) => [type, {}])) };
}

/** A dialect may have a form of its own for the errors that all routes share. */
function errorOf(dialect: Dialect) {
  if (!dialect.errorBody) return { $ref: '#/components/responses/Error' };
  const { body } = dialect.errorBody(new LMServError('queue_full'), 'ID-OF-THE-REQUEST');
  return {
    description: 'An error; what it may be is listed in the component Error',
    content: { 'application/json': { example: body } },
  };
}

function errorResponse() {
  const rows = Object.entries(ERRORS).map(
    ([code, { status, message }]) => `| ${status} | ${code} | ${message} |`,
  );
  const error = {
    type: 'object',
    properties: {
      message: { type: 'string' },
      type: { enum: [...new Set(Object.values(ERRORS).map(({ type }) => type))] },
      param: { type: ['string', 'null'], description: 'The field that is to blame' },
      code: { enum: Object.keys(ERRORS) },
    },
  };
  return {
    description: ['An error.', '', '| status | code | message |', '|---|---|---|', ...rows].join('\n'),
    headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'Seconds; with 429 and 503' } },
    content: { 'application/json': { schema: { type: 'object', properties: { error } } } },
  };
}
