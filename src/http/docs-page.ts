/** `/openapi.json` and `/docs`: what the API is, for programs and for people. Nothing of it is loaded before it is asked for. */

import { createRequire } from 'node:module';
import path from 'node:path';
import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';
import type { Route } from './routes.js';

/** `GET /openapi.json`. */
export function apiDescription(routes: readonly Route[], version: string): RequestHandler {
  let described: Promise<string> | undefined;
  return async (_request, response) => {
    described ??= import('./openapi.js').then(async ({ describeApi }) =>
      JSON.stringify(await describeApi(routes, version)),
    );
    response.type('json').send(await described);
  };
}

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>LMServ</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
`;

/** The validator would be another's server. */
const START =
  "SwaggerUIBundle({ url: 'openapi.json', dom_id: '#page', deepLinking: true, validatorUrl: null });\n";

/** The page runs its own scripts only, over HTTP too: helmet's policy would ask for them over TLS. */
const POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'";

/** `GET /docs`. */
export const docsPage: RequestHandler = (request, response) => {
  // What the page loads is named from the folder above.
  if (request.path.endsWith('/')) return response.redirect(308, '../docs');
  response.setHeader('Content-Security-Policy', POLICY);
  response.type('html').send(PAGE);
};

const FILES: ReadonlySet<unknown> = new Set(['swagger-ui.css', 'swagger-ui-bundle.js']);

/** `GET /docs/:file`: what the page loads. @throws LMServError `not_found`. */
export const docsFile: RequestHandler = (request, response, next) => {
  const { file } = request.params;
  if (file === 'start.js') return void response.type('js').send(START);
  if (!FILES.has(file)) throw new LMServError('not_found');
  const folder = path.dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  // The path to the folder may have parts that begin with a dot.
  const options = { root: folder, maxAge: '1h', acceptRanges: false };
  response.sendFile(file as string, options, (error?: Error) => {
    if (error && !response.headersSent) next(new LMServError('not_found'));
  });
};
