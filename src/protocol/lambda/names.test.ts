import { describe, expect, test } from 'vitest';
import type { WorkloadName } from '../../base/ids.ts';
import { LambdaError } from './errors.ts';
import { functionNotFound, parseFunctionName } from './names.ts';

describe('a function can be named', () => {
  test.each([
    ['hello', null, { name: 'hello', accountId: null, region: null, qualifier: null }],
    ['function:hello', null, { name: 'hello', accountId: null, region: null, qualifier: null }],
    ['hello:$LATEST', null, { name: 'hello', accountId: null, region: null, qualifier: '$LATEST' }],
    ['hello', 'prod', { name: 'hello', accountId: null, region: null, qualifier: 'prod' }],
    [
      '123456789012:function:hello',
      null,
      { name: 'hello', accountId: '123456789012', region: null, qualifier: null },
    ],
    [
      '123456789012:hello:7',
      null,
      { name: 'hello', accountId: '123456789012', region: null, qualifier: '7' },
    ],
    [
      'arn:aws:lambda:us-east-1:123456789012:function:Hello_1-x:prod',
      'prod',
      { name: 'Hello_1-x', accountId: '123456789012', region: 'us-east-1', qualifier: 'prod' },
    ],
    [
      'arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:hello',
      null,
      { name: 'hello', accountId: '123456789012', region: 'us-gov-west-1', qualifier: null },
    ],
  ] as const)('%s (%s)', (input, qualifier, expected) => {
    expect(parseFunctionName(input, qualifier)).toEqual(expected);
  });
});

describe('what is no name of a function is a ValidationException', () => {
  test.each([
    '',
    'a b',
    '../x',
    'a'.repeat(65),
    'arn:aws:s3:::bucket',
    'a:b:c',
    'arn:aws:lambda:us-east-1:12:function:x',
    'hello:',
    'ä',
    'x'.repeat(5000),
  ])('%s', (input) => {
    expect(() => parseFunctionName(input)).toThrow(expect.objectContaining({ type: 'ValidationException' }));
  });
});

test.each(['a.b', 'a'.repeat(65), 'arn:aws:lambda:us-east-1:123456789012:x'])(
  'the pattern that a refusal shows refuses %s too',
  (input) => {
    const thrown = refusalOf(input);
    const shown = thrown.split('regular expression pattern: ')[1];
    expect(shown).toBeDefined();
    expect(new RegExp(`^${shown}$`).test(input)).toBe(false);
    expect(new RegExp(`^${shown}$`).test('hello')).toBe(true);
  },
);

test('what is too long whatever it holds is told so', () => {
  expect(refusalOf(`arn:aws-${'x'.repeat(200)}:lambda:us-east-1:123456789012:function:f`)).toMatch(
    /length less than or equal to 170$/,
  );
});

function refusalOf(input: string): string {
  try {
    parseFunctionName(input);
  } catch (thrown) {
    if (thrown instanceof LambdaError) return thrown.message;
  }
  throw new Error('it was not refused');
}

test('two qualifiers that differ are refused', () => {
  expect(() => parseFunctionName('hello:1', '2')).toThrow(
    expect.objectContaining({ type: 'InvalidParameterValueException' }),
  );
});

test('a function that is not there is named by its ARN', () => {
  const error = functionNotFound('eu-west-1', '123456789012', 'nope' as WorkloadName, null);
  expect(error).toBeInstanceOf(LambdaError);
  expect(error.message).toBe('Function not found: arn:aws:lambda:eu-west-1:123456789012:function:nope');
});
