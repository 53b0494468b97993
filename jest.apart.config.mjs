import { suite } from './jest.config.mjs';

/**
 * Apart from `npm test`: system (the units against systemd's own judgement) needs the programs of systemd, templates (the chat
 * templates of real models) takes minutes, gpu needs a GPU or Mesa's lavapipe.
 */
export default {
  projects: [suite('system'), suite('templates'), suite('gpu')],
  testTimeout: 120_000,
};
