// A start that failed in user code, and how a process ended, in Lambda's words. Pure. Failures of Bellows itself are BellowsErrors.
import { z } from 'zod';
import type { InvocationError } from '../../protocol/instance.ts';
import type { ProcessExit } from '../sandbox/port.ts';

const invocationError = z.object({
  errorType: z.string(),
  errorMessage: z.string(),
  trace: z.array(z.string()),
});

/** A start that failed in user code, as Lambda words it. */
export class StartFailure extends Error {
  readonly error: InvocationError;

  constructor(errorType: string, errorMessage: string, trace: readonly string[] = []) {
    super(errorMessage);
    this.error = { errorType, errorMessage, trace: [...trace] };
  }
}

/** The payload of a failed bind; what it says is user code's word. */
export function bindFailure(payload: string): StartFailure {
  const error = invocationError.safeParse(JSON.parse(payload));
  if (!error.success) {
    return new StartFailure(
      'Runtime.Unknown',
      'Error: the code failed to load, and its error could not be read.',
    );
  }
  return new StartFailure(error.data.errorType, error.data.errorMessage, error.data.trace);
}

/** Its main process ended before it was usable. */
export function exitFailure(exit: ProcessExit, oomKilled: boolean): StartFailure {
  if (oomKilled)
    return new StartFailure(
      'Runtime.OutOfMemory',
      'Error: Runtime exited with error: signal: killed (it needed more memory than it was granted)',
    );
  return new StartFailure('Runtime.ExitError', `Error: Runtime exited with error: ${exitWords(exit)}`);
}

/** Lambda is written in Go, and these are Go's words for the signals that end a process. */
const signalWords: Readonly<Record<string, string>> = {
  SIGABRT: 'aborted',
  SIGBUS: 'bus error',
  SIGFPE: 'floating point exception',
  SIGHUP: 'hangup',
  SIGILL: 'illegal instruction',
  SIGINT: 'interrupt',
  SIGKILL: 'killed',
  SIGPIPE: 'broken pipe',
  SIGQUIT: 'quit',
  SIGSEGV: 'segmentation fault',
  SIGTERM: 'terminated',
};

/** `exit status 3` or `signal: killed`; gateways look for exactly this in the reason of an end, to answer with it. */
export function exitWords({ code, signal }: ProcessExit): string {
  if (signal !== null) return `signal: ${signalWords[signal] ?? signal.toLowerCase()}`;
  return `exit status ${code ?? 'unknown'}`;
}

/** It did not become usable in time. */
export function timeoutFailure(kind: 'function' | 'app', timeoutMs: number): StartFailure {
  const seconds = timeoutMs / 1000;
  return kind === 'function'
    ? new StartFailure('Sandbox.Timedout', `Error: the code did not finish loading within ${seconds} seconds`)
    : new StartFailure(
        'App.NotListening',
        `Error: the app did not listen within ${seconds} seconds; it must listen on the port in PORT`,
      );
}
