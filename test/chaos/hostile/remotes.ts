/** Every way in which the hostile remote misbehaves, streamed and whole. */
import { MISBEHAVIOURS } from './remote.js';
import type { Action, World } from './world.js';

const ask = (model: string) => (world: World) =>
  Promise.all(
    [true, false].map((stream) => world.chat({ model, stream, messages: [{ role: 'user', content: 'hi' }] })),
  );

export const REMOTES: readonly Action[] = [
  ...Object.keys(MISBEHAVIOURS).map((name): Action => ({
    name: `remote: ${name}`,
    cls: 'remotes',
    run: ask(name),
  })),
  {
    name: 'remote: bad certificate',
    cls: 'remotes',
    run: async (world) => {
      if (world.remote.tlsUrl === undefined)
        return world.skip('remote: bad certificate: there is no openssl');
      const answers = await ask('bad-certificate')(world);
      if (answers.some(({ status }) => status === 200)) world.problem('a certificate of nobody was trusted');
    },
  },
];
