// Translates the errors of Bellows into those of the Lambda API. Pure.
import { BellowsError, errorKinds, knownSystemError } from '../../base/errors.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import { BodyTooLarge } from '../http/body.ts';

function sentence(error: BellowsError): string {
  return error.hint === undefined ? error.message : `${error.message} ${error.hint}`;
}

/** @param operation for the one message that names it. Anything unexpected becomes ServiceException, without details. */
export function toLambdaError(thrown: unknown, operation: string): LambdaError {
  if (thrown instanceof LambdaError) return thrown;
  if (!(thrown instanceof BellowsError)) {
    const known = knownSystemError(thrown);
    if (known !== undefined) return toLambdaError(known, operation);
    return new LambdaError('ServiceException', 'Bellows failed to do this; the details are in its log.');
  }
  if (thrown instanceof BodyTooLarge) {
    return new LambdaError(
      'RequestEntityTooLargeException',
      `Request must be smaller than ${thrown.limitBytes} bytes for the ${operation} operation`,
    );
  }
  switch (thrown.code) {
    case 'NotFound':
      return new LambdaError('ResourceNotFoundException', sentence(thrown));
    case 'Conflict':
      return new LambdaError('ResourceConflictException', sentence(thrown));
    case 'LimitReached':
      return new LambdaError('TooManyRequestsException', sentence(thrown), {
        Reason: 'CallerRateLimitExceeded',
      });
    case 'Internal':
      return new LambdaError('ServiceException', 'Bellows failed to do this; the details are in its log.');
    default:
      return errorKinds[thrown.code].fault === 'host'
        ? new LambdaError('ServiceUnavailableException', sentence(thrown))
        : new LambdaError('InvalidParameterValueException', sentence(thrown));
  }
}
