// How Lambda's callers name a function: a name, a partial or a full ARN, each with an optional qualifier. Pure.
import type { WorkloadName } from '../../base/ids.ts';
import { functionArn } from '../../model/lambda.ts';
import { LambdaError } from './errors.ts';

export interface FunctionName {
  readonly name: WorkloadName;
  /** The account in an ARN; null when the caller named only the function. */
  readonly accountId: string | null;
  readonly region: string | null;
  /** A version or an alias; null when none was named. */
  readonly qualifier: string | null;
}

/** The pattern of `FunctionName` in the Lambda API reference, as one regular expression with our groups. */
const pattern =
  /^(?:arn:(?:aws[a-zA-Z-]*):lambda:([a-z]{2}(?:-[a-z]+)+-\d{1,2}):(\d{12}):function:|(\d{12}):(?:function:)?|function:)?([a-zA-Z0-9_-]{1,64})(?::(\$LATEST|[a-zA-Z0-9_-]{1,128}))?$/;
/** What a caller is told is what is judged: the reference shows a laxer pattern, that refused names may satisfy. */
const patternShown = pattern.source.slice(1, -1);
/** The reference's limit for the parameter. */
const maxLength = 170;

/**
 * Reads the `FunctionName` parameter, already percent-decoded.
 * @param qualifier the `Qualifier` parameter; when the name has one too, they must be the same
 * @throws LambdaError ValidationException when it is no such name, InvalidParameterValueException when qualifiers differ
 */
export function parseFunctionName(input: string, qualifier: string | null = null): FunctionName {
  const match = input.length <= maxLength ? pattern.exec(input) : null;
  const name = match?.[4];
  if (match === null || name === undefined) {
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '${input.slice(0, maxLength)}' at 'functionName' failed to satisfy constraint: ` +
        (input.length > maxLength
          ? `Member must have length less than or equal to ${maxLength}`
          : `Member must satisfy regular expression pattern: ${patternShown}`),
    );
  }
  const named = match[5] ?? null;
  if (named !== null && qualifier !== null && named !== qualifier) {
    throw new LambdaError(
      'InvalidParameterValueException',
      'The derived qualifier from the function name does not match the specified qualifier.',
    );
  }
  return {
    name: name as WorkloadName,
    region: match[1] ?? null,
    accountId: match[2] ?? match[3] ?? null,
    qualifier: named ?? qualifier,
  };
}

/** AWS's answer for a function, version or alias that is not there. */
export function functionNotFound(
  region: string,
  accountId: string,
  name: WorkloadName,
  qualifier: string | null,
): LambdaError {
  const arn = functionArn(region, accountId, name);
  return new LambdaError(
    'ResourceNotFoundException',
    `Function not found: ${qualifier === null ? arn : `${arn}:${qualifier}`}`,
  );
}
