import { createServer, LMServError, type Caller, type Dialect } from 'lmserv';

/** `POST /haiku {"about": "rain"}` → `{"haiku": "…"}`. */
const haiku: Dialect = {
  parse(body) {
    const { about } = body as { about?: unknown };
    if (typeof about !== 'string') {
      throw new LMServError('invalid_value', 'about: must be a text', { param: 'about' });
    }
    const messages = [{ role: 'user', content: `Write a haiku about ${about}` }];
    return {
      request: { kind: 'chat', n: 1, body: { messages, max_tokens: 60 } },
      reply: ({ choices }) => ({ haiku: choices[0]!.text }),
    };
  },
};

const server = createServer({
  routes: [{ path: '/haiku', dialect: haiku }],
  mount: (app) => {
    app.get('/whoami', (_request, response) => {
      const { name, admin } = response.locals.caller as Caller;
      response.json({ name, admin });
    });
  },
});

process.once('SIGTERM', () => void server.stop());
await server.start();
