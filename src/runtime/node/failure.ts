// Lambda's error payloads: how anything that user code throws, and every way to fail to load it, is worded.
// Owns error types as AWS's Node runtime names them. Does not own where they are sent. Pure; hostile values are expected.
import type { InvocationError } from '../../protocol/instance.ts';

/** A failure that the runtime itself words. */
export class RuntimeFailure extends Error {
  constructor(
    type:
      | 'Runtime.HandlerNotFound'
      | 'Runtime.ImportModuleError'
      | 'Runtime.UserCodeSyntaxError'
      | 'Runtime.MalformedHandlerName'
      | 'Runtime.MarshalError'
      | 'Runtime.UnhandledPromiseRejection'
      | 'Runtime.ExitError'
      | 'Function.ResponseSizeTooLarge',
    message: string,
    cause?: unknown,
  ) {
    super(message, { cause });
    this.name = type;
    // As AWS's runtime does for a wrapped error: the place that matters is where the user's code failed.
    const stack = cause === undefined ? undefined : stackOf(cause);
    if (stack !== undefined) this.stack = `${type}: ${message}\n${framesOf(stack)}`;
  }
}

function stackOf(thrown: unknown): string | undefined {
  try {
    const stack = (thrown as { stack?: unknown } | null | undefined)?.stack;
    return typeof stack === 'string' ? stack : undefined;
  } catch {
    return undefined;
  }
}

function framesOf(stack: string): string {
  return stack
    .split('\n')
    .filter((line) => line.startsWith('    at '))
    .join('\n');
}

/** What user code threw, in Lambda's words. Never throws, whatever it is given. */
export function toInvocationError(thrown: unknown): InvocationError {
  try {
    if (looksLikeError(thrown)) {
      const stack = stackOf(thrown);
      return {
        errorType: String(thrown.name).replaceAll('\x7F', '%7F'),
        errorMessage: String(thrown.message).replaceAll('\x7F', '%7F'),
        trace: stack === undefined ? [] : stack.replaceAll('\x7F', '%7F').split('\n'),
      };
    }
    return { errorType: typeof thrown, errorMessage: String(thrown), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while retrieving it',
      trace: [],
    };
  }
}

function looksLikeError(thrown: unknown): thrown is { readonly name: unknown; readonly message: unknown } {
  if (thrown instanceof Error) return true;
  // Errors of another realm, and look-alikes of libraries.
  return (
    typeof thrown === 'object' &&
    thrown !== null &&
    'name' in thrown &&
    'message' in thrown &&
    'stack' in thrown
  );
}

/** The message of a rejection with something that need not be an error. */
export function rejectionFailure(reason: unknown): RuntimeFailure {
  let message: string;
  try {
    message = String(reason);
  } catch {
    message = 'a promise was rejected with a value that can not be shown';
  }
  return new RuntimeFailure('Runtime.UnhandledPromiseRejection', message, reason);
}
