// Lambda's error answers: every exception that Bellows gives, its HTTP status and its body's shape. Pure.
// Does not own when they are given; BellowsErrors are translated where a Lambda path is served.

interface LambdaErrorKind {
  readonly status: number;
  /** `User`: the caller's; `Service`: ours. Authentication errors have none and a body of `{"message"}` only, as AWS's edge gives them. */
  readonly side: 'User' | 'Service' | 'Edge';
}

/** Names and statuses as in the Lambda API reference ("Errors" of each action, and "Common Errors"). */
export const lambdaErrorKinds = {
  CodeStorageExceededException: { status: 400, side: 'User' },
  InvalidParameterValueException: { status: 400, side: 'User' },
  InvalidRequestContentException: { status: 400, side: 'User' },
  InvalidZipFileException: { status: 502, side: 'User' },
  ValidationException: { status: 400, side: 'Edge' },
  /** AWS's common name for what came too slowly; its SDKs try it again. */
  RequestTimeoutException: { status: 408, side: 'Edge' },
  ResourceNotFoundException: { status: 404, side: 'User' },
  ResourceConflictException: { status: 409, side: 'User' },
  PreconditionFailedException: { status: 412, side: 'User' },
  RequestTooLargeException: { status: 413, side: 'User' },
  /** Of the management calls; Invoke's is the one above. */
  RequestEntityTooLargeException: { status: 413, side: 'User' },
  /** A body that is not JSON, or whose members have other types than the API's. */
  SerializationException: { status: 400, side: 'User' },
  UnsupportedMediaTypeException: { status: 415, side: 'User' },
  TooManyRequestsException: { status: 429, side: 'User' },
  ServiceException: { status: 500, side: 'Service' },
  ResourceNotReadyException: { status: 502, side: 'Service' },
  ServiceUnavailableException: { status: 503, side: 'Service' },
  UnknownOperationException: { status: 404, side: 'Edge' },
  MissingAuthenticationTokenException: { status: 403, side: 'Edge' },
  UnrecognizedClientException: { status: 403, side: 'Edge' },
  InvalidSignatureException: { status: 403, side: 'Edge' },
  IncompleteSignatureException: { status: 403, side: 'Edge' },
  AccessDeniedException: { status: 403, side: 'Edge' },
} as const satisfies Record<string, LambdaErrorKind>;

export type LambdaErrorName = keyof typeof lambdaErrorKinds;

/** Why a request was throttled, as `Reason` in the body of TooManyRequestsException. */
export type ThrottleReason =
  | 'ConcurrentInvocationLimitExceeded'
  | 'ReservedFunctionConcurrentInvocationLimitExceeded'
  | 'FunctionInvocationRateLimitExceeded'
  | 'CallerRateLimitExceeded';

/** An exception of the Lambda API, thrown where one of its requests is served. */
export class LambdaError extends Error {
  readonly type: LambdaErrorName;
  /** Further members of the body, such as `Reason`. */
  readonly members: Readonly<Record<string, string>>;

  constructor(type: LambdaErrorName, message: string, members: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = type;
    this.type = type;
    this.members = members;
  }

  get status(): number {
    return lambdaErrorKinds[this.type].status;
  }
}

export interface LambdaErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The HTTP answer for an exception, in the shape of AWS's REST-JSON protocol. */
export function lambdaErrorAnswer(error: LambdaError, requestId: string): LambdaErrorAnswer {
  const { side, status } = lambdaErrorKinds[error.type];
  const content =
    side === 'Edge'
      ? { message: error.message, ...error.members }
      : { Type: side, Message: error.message, message: error.message, ...error.members };
  const headers: Record<string, string> = {
    'Content-Type': 'application/json',
    'x-amzn-RequestId': requestId,
    'x-amzn-ErrorType': error.type,
  };
  const { retryAfterSeconds } = error.members;
  if (retryAfterSeconds !== undefined) headers['Retry-After'] = retryAfterSeconds;
  return { status, headers, body: JSON.stringify(content) };
}
