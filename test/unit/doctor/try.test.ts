import { runDoctor } from '../../../src/commands/doctor.js';
it('x', async () => {
  for (const [env, folder] of [
    [{ LLM_BIN_PATH: '/tmp/w/llama.cpp/build/bin/llama-cli' }, process.cwd()],
    [{ PORT: 'abc', HOST: '0.0.0.0', LLM_MODEL_PATH: '/nope', LLM_BIN_PATH: '/bin/ls' }, '/tmp/dr'],
    [{ LMSERV_CONFIG: '/etc/hostname', API_KEY: 'sekrit-hostname-123' }, '/tmp/dr'],
  ] as const) {
    let s = '';
    const t = performance.now();
    const code = await runDoctor({ env: { PATH: process.env.PATH, ...env } as any, folder }, (x) => (s += x));
    process.stderr.write(`${s}code ${code} ${Math.round(performance.now() - t)} ms\n\n`);
  }
});
