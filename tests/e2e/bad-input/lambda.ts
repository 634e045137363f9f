// Wrong requests to the Lambda API: those that the SDK can be made to send, and those that it can not.
import * as aws from '@aws-sdk/client-lambda';
import { zipOf } from '../../support/archives.ts';
import type { SignedOptions } from '../../support/aws-signed.ts';
import { zipWithName } from '../../support/hostile-archives.ts';

const role = 'arn:aws:iam::000000000000:role/any';
const mib = 1024 * 1024;
const zip = async () => ({ ZipFile: await zipOf({ 'index.mjs': '' }) });
const newFunction = async (more: Partial<aws.CreateFunctionCommandInput>) =>
  new aws.CreateFunctionCommand({
    FunctionName: 'bad',
    Runtime: 'nodejs26.x',
    Role: role,
    Handler: 'index.handler',
    Code: await zip(),
    ...more,
  });
type SdkCase = readonly [
  what: string,
  command: () => Promise<aws.CreateFunctionCommand> | object,
  name: string,
  message: RegExp,
];
export const sdkCases: readonly SdkCase[] = [
  ['a name with a space', () => newFunction({ FunctionName: 'a b' }), 'ValidationException', /functionName/],
  ['no handler', () => newFunction({ Handler: undefined }), 'InvalidParameterValueException', /[Hh]andler/],
  [
    'a runtime that is not there',
    () => newFunction({ Runtime: 'cobol85' as never }),
    'InvalidParameterValueException',
    /cobol85/,
  ],
  ['no memory', () => newFunction({ MemorySize: 0 }), 'ValidationException', /memorySize/],
  [
    'more memory than there is',
    () => newFunction({ MemorySize: 99_999_999 }),
    'ValidationException',
    /memorySize/,
  ],
  ['no time', () => newFunction({ Timeout: 0 }), 'ValidationException', /timeout/],
  ['an hour', () => newFunction({ Timeout: 3600 }), 'ValidationException', /timeout/],
  ['no code', () => newFunction({ Code: {} }), 'InvalidParameterValueException', /./],
  [
    'code that is no zip',
    () => newFunction({ Code: { ZipFile: Buffer.from('no zip') } }),
    'InvalidParameterValueException',
    /zip/i,
  ],
  [
    'a zip with a way up',
    async () => newFunction({ Code: { ZipFile: await zipWithName('../evil') } }),
    'InvalidParameterValueException',
    /\.\./,
  ],
  [
    'a variable that is reserved',
    () => newFunction({ Environment: { Variables: { AWS_REGION: 'x' } } }),
    'InvalidParameterValueException',
    /AWS_REGION/,
  ],
  [
    'an environment of 5 KB',
    () => newFunction({ Environment: { Variables: { LONG: 'x'.repeat(5_000) } } }),
    'InvalidParameterValueException',
    /4\s?KB|4096/,
  ],
  [
    'a name that is taken',
    () => newFunction({ FunctionName: 'hello' }),
    'ResourceConflictException',
    /hello/,
  ],
  [
    'a call of nothing',
    () => new aws.InvokeCommand({ FunctionName: 'nobody' }),
    'ResourceNotFoundException',
    /nobody/,
  ],
  [
    'a call of a version',
    () => new aws.InvokeCommand({ FunctionName: 'hello', Qualifier: '7' }),
    'ResourceNotFoundException',
    /7/,
  ],
  [
    'a call in no known way',
    () => new aws.InvokeCommand({ FunctionName: 'hello', InvocationType: 'Maybe' as never }),
    'InvalidParameterValueException',
    /Maybe|InvocationType/,
  ],
  [
    'a payload that is no JSON',
    () => new aws.InvokeCommand({ FunctionName: 'hello', Payload: 'hello?' }),
    'InvalidRequestContentException',
    /JSON/i,
  ],
  [
    'a client context that is not base64',
    () => new aws.InvokeCommand({ FunctionName: 'hello', ClientContext: '{}' }),
    'InvalidRequestContentException',
    /[Cc]lient.?[Cc]ontext/,
  ],
  [
    'a payload of 7 MB',
    () => new aws.InvokeCommand({ FunctionName: 'hello', Payload: JSON.stringify('x'.repeat(7 * mib)) }),
    'RequestTooLargeException',
    /./,
  ],
  [
    'an event of 2 MB',
    () =>
      new aws.InvokeCommand({
        FunctionName: 'hello',
        InvocationType: 'Event',
        Payload: JSON.stringify('x'.repeat(2 * mib)),
      }),
    'RequestTooLargeException',
    /./,
  ],
  [
    'another account',
    () => new aws.InvokeCommand({ FunctionName: 'arn:aws:lambda:us-east-1:999999999999:function:hello' }),
    'AccessDeniedException',
    /999999999999|not authorized/,
  ],
  [
    'a change of nothing',
    () => new aws.UpdateFunctionConfigurationCommand({ FunctionName: 'nobody', Timeout: 3 }),
    'ResourceNotFoundException',
    /nobody/,
  ],
  [
    'a change to no memory',
    () => new aws.UpdateFunctionConfigurationCommand({ FunctionName: 'hello', MemorySize: -5 }),
    'ValidationException',
    /memorySize/,
  ],
  [
    'a removal of nothing',
    () => new aws.DeleteFunctionCommand({ FunctionName: 'nobody' }),
    'ResourceNotFoundException',
    /nobody/,
  ],
  [
    'a negative concurrency',
    () => new aws.PutFunctionConcurrencyCommand({ FunctionName: 'hello', ReservedConcurrentExecutions: -1 }),
    'ValidationException',
    /reservedConcurrentExecutions/,
  ],
  [
    'more concurrency than the account has to reserve',
    () => new aws.PutFunctionConcurrencyCommand({ FunctionName: 'hello', ReservedConcurrentExecutions: 901 }),
    'InvalidParameterValueException',
    /^Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of \[100\]\./,
  ],
];

type SignedCase = readonly [
  what: string,
  request: string,
  body: string,
  options: SignedOptions,
  status: number,
  type: string,
];
export const functions = '/2015-03-31/functions';
export const signedCases: readonly SignedCase[] = [
  ['JSON that is none', `POST ${functions}`, '{"FunctionName":', {}, 400, 'SerializationException'],
  ['JSON that is a list', `POST ${functions}`, '[]', {}, 400, 'SerializationException'],
  ['a number as a name', `POST ${functions}`, '{"FunctionName":7}', {}, 400, 'SerializationException'],
  ['nothing at all', `POST ${functions}`, '{}', {}, 400, 'ValidationException'],
  [
    'a zip that is not base64',
    `POST ${functions}`,
    JSON.stringify({
      FunctionName: 'bad',
      Role: role,
      Handler: 'a.b',
      Runtime: 'nodejs26.x',
      Code: { ZipFile: '***' },
    }),
    {},
    400,
    'InvalidParameterValueException',
  ],
  ['an operation that is none', `POST ${functions}/hello/dance`, '{}', {}, 404, 'UnknownOperationException'],
  ['a wrong method', `PATCH ${functions}/hello`, '{}', {}, 404, 'UnknownOperationException'],
  [
    'a body that is not the signed one',
    `POST ${functions}/hello/invocations`,
    '{"a":1}',
    { signedBody: '{}' },
    403,
    'InvalidSignatureException',
  ],
  [
    'a signature of yesterday',
    `POST ${functions}/hello/invocations`,
    '{}',
    { now: new Date(Date.now() - 86_400_000) },
    403,
    'InvalidSignatureException',
  ],
  [
    'no signature',
    `POST ${functions}/hello/invocations`,
    '{}',
    { unsigned: true },
    403,
    'MissingAuthenticationTokenException',
  ],
  [
    'half a signature',
    `POST ${functions}/hello/invocations`,
    '{}',
    { headers: { authorization: 'AWS4-HMAC-SHA256 Credential=x' } },
    403,
    'IncompleteSignatureException',
  ],
];
