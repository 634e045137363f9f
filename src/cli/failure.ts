// Errors for the person at the command line: what and why, how to solve it, and the exit code that tells a script.
import { BellowsError, knownSystemError, messageOf } from '../base/errors.ts';
import { exitCode, type ExitCode } from './exit-code.ts';

/** An error with an exit code of its own, and with the code that the API gave when it did. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;
  readonly hint: string | undefined;
  readonly code: string | undefined;

  constructor(exit: ExitCode, message: string, hint?: string, code?: string) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exit;
    this.hint = hint;
    this.code = code;
  }
}

/** Why a command was told to end before it was done: by a person, or since nobody reads what it says any more. */
export class Interruption extends Error {
  readonly exitCode: ExitCode;

  constructor(by: 'signal' | 'closed output') {
    super(`ended by ${by}`);
    this.name = 'Interruption';
    this.exitCode = by === 'signal' ? exitCode.interrupted : exitCode.ok;
  }
}

export function usageError(message: string, hint: string): CommandError {
  return new CommandError(exitCode.usage, message, hint);
}

export interface Failure {
  readonly exitCode: ExitCode;
  /** Two lines at most, for stderr. */
  readonly text: string;
}

export function failureOf(raw: unknown): Failure {
  const thrown = knownSystemError(raw) ?? raw;
  const lines = (message: string, hint: string | undefined): string =>
    hint === undefined ? `error: ${message}` : `error: ${message}\n${hint}`;
  if (thrown instanceof CommandError)
    return { exitCode: thrown.exitCode, text: lines(thrown.message, thrown.hint) };
  // What our own parsers refuse was never sent: the command line is wrong.
  if (thrown instanceof BellowsError)
    return {
      exitCode: thrown.status === 400 ? exitCode.usage : exitCode.failed,
      text: lines(thrown.message, thrown.hint),
    };
  // A defect of ours: its stack is what a report needs, and who wants it asks for it.
  const stack =
    process.env['BELLOWS_DEBUG'] !== undefined && thrown instanceof Error ? `\n${thrown.stack}` : '';
  return {
    exitCode: exitCode.failed,
    text: `error: ${messageOf(thrown)}${stack}\nThis is not an error that Bellows knows. BELLOWS_DEBUG=1 shows where it came from.`,
  };
}
