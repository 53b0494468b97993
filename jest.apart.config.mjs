import { suite } from './jest.config.mjs';

/**
 * Apart from `npm test`: system (the units against systemd's own judgement) needs the programs of systemd, templates (the chat
 * templates of real models) takes minutes.
 */
export default {
  projects: [suite('system'), suite('templates')],
  testTimeout: 120_000,
};
