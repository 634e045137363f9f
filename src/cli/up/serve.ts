// Runs the supervisor in the foreground until somebody wants it to stop: what each signal means, and how often.
// Does not own what is said when it serves (greeting.ts), nor how everything is stopped (the supervisor).
import { systemClock } from '../../base/clock.ts';
import { Supervisor, type SupervisorOptions } from '../../supervisor/supervisor.ts';
import type { Context } from '../context.ts';
import { exitCode, type ExitCode } from '../exit-code.ts';
import { greet } from './greeting.ts';

/** Signals that come closer together are one press of Ctrl-C. */
const sameWishMs = 500;
const stopSignals = ['SIGINT', 'SIGTERM'] as const;

export async function serve(options: SupervisorOptions, examples: boolean, ctx: Context): Promise<ExitCode> {
  const { say } = options;
  const asked = new AbortController();
  let supervisor: Supervisor | undefined;
  let stopped: Promise<void> | undefined;
  let askedAtMs = -Infinity;
  const onSignal = (): void => {
    // npm, and a starter that runs us as a child, pass on what the terminal has already sent to everybody.
    const nowMs = systemClock.monotonicMs();
    if (nowMs - askedAtMs < sameWishMs) return;
    askedAtMs = nowMs;
    say(
      asked.signal.aborted
        ? 'Stopping at once…'
        : 'Stopping: letting what runs finish (again to stop at once)…',
    );
    asked.abort();
    stopped = supervisor?.stop();
  };
  // A terminal that is closed takes with it what runs in it; where there is none, as under systemd, it means "anew".
  const onHangUp = (): void => {
    if (process.stdin.isTTY) onSignal();
    else if (!asked.signal.aborted) supervisor?.upgrade().catch(() => undefined);
  };
  for (const signal of stopSignals) process.on(signal, onSignal);
  process.on('SIGHUP', onHangUp);
  try {
    await Supervisor.start(options, (created) => {
      supervisor = created;
      // The wish came while there was nothing to stop.
      if (ctx.signal.aborted) onSignal();
    });
    if (supervisor !== undefined && !asked.signal.aborted)
      await greet(supervisor, examples, asked.signal, options, ctx);
    if (!asked.signal.aborted)
      await new Promise((resolve) => asked.signal.addEventListener('abort', resolve, { once: true }));
    await stopped;
    say('Stopped.');
    return exitCode.ok;
  } catch (thrown) {
    // Told to stop while it started.
    if (asked.signal.aborted) return exitCode.ok;
    throw thrown;
  } finally {
    for (const signal of stopSignals) process.off(signal, onSignal);
    process.off('SIGHUP', onHangUp);
  }
}
