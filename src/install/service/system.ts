/** What the installer needs of the machine. A test puts another in its place. */
import { existsSync } from 'node:fs';
import { execa } from 'execa';

/** Whose rights a program runs with. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export interface Result {
  readonly ok: boolean;
  readonly stdout: string;
  /** What the program said on stderr, else how it ended. */
  readonly reason: string;
}

export interface System {
  /** Whether this is root. */
  readonly privileged: boolean;
  /** Whether systemd runs this machine. */
  readonly booted: boolean;
  /** Runs a program to its end, without a shell. Never rejects. */
  run(program: string, args: readonly string[], as?: Account): Promise<Result>;
}

export const thisSystem = (): System => ({
  privileged: process.getuid?.() === 0,
  booted: existsSync('/run/systemd/system'),
  run: async (program, args, as) => {
    // A folder that everybody may enter: another user need not see the current one.
    const options = { cwd: '/', stdin: 'ignore', reject: false, ...as } as const;
    const result = await execa(program, args, options);
    const said = result.stderr || (result.shortMessage ?? '');
    return { ok: !result.failed, stdout: result.stdout, reason: said };
  },
});
