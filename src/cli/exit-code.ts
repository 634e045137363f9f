// What a script learns from how `bellows` ends. Stable: docs/guides/cli.md lists them.

export const exitCode = {
  ok: 0,
  /** Understood and not done: the function failed, the change is infeasible, Bellows refused. */
  failed: 1,
  /** The command line itself is wrong; nothing was sent. */
  usage: 2,
  /** Bellows can not be reached. */
  unreachable: 3,
  /** A change was accepted and is not applied yet: it will be, by itself, as usage allows. */
  deferred: 4,
  /** Ended by Ctrl-C before it was done: 128 and the signal's number, as shells have it. */
  interrupted: 130,
} as const;
export type ExitCode = (typeof exitCode)[keyof typeof exitCode];
