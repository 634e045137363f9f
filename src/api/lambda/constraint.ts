// Says of bad input what AWS says: which value, at which member, fails which constraint. Pure.
import type { z } from 'zod';
import { LambdaError } from '../../protocol/lambda/errors.ts';

/** AWS cuts nothing, but an answer need not be as long as its question. */
const maxShownValue = 256;

type Issue = z.core.$ZodIssue;

/** @throws LambdaError ValidationException, or SerializationException when a member has another type */
export function parseMembers<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const misTyped = issues.find((issue) => isMisTyped(issue, input));
  if (misTyped !== undefined) {
    throw new LambdaError(
      'SerializationException',
      `'${memberOf(misTyped.path)}': ${misTyped.message.replace('Invalid input: ', '')}`,
    );
  }
  const count = issues.length;
  throw new LambdaError(
    'ValidationException',
    `${count} validation error${count === 1 ? '' : 's'} detected: ${issues.map((issue) => describe(issue, input)).join('; ')}`,
  );
}

function isMisTyped(issue: Issue, input: unknown): boolean {
  return issue.code === 'invalid_type' && valueAt(input, issue.path) !== undefined;
}

function describe(issue: Issue, input: unknown): string {
  const value = valueAt(input, issue.path);
  const shown =
    value === undefined
      ? 'null'
      : `'${(typeof value === 'string' ? value : JSON.stringify(value)).slice(0, maxShownValue)}'`;
  return `Value ${shown} at '${memberOf(issue.path)}' failed to satisfy constraint: ${constraintOf(issue)}`;
}

function constraintOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return 'Member must not be null';
    case 'too_small':
      return issue.origin === 'string' || issue.origin === 'array'
        ? `Member must have length greater than or equal to ${issue.minimum}`
        : `Member must have value greater than or equal to ${issue.minimum}`;
    case 'too_big':
      return issue.origin === 'string' || issue.origin === 'array'
        ? `Member must have length less than or equal to ${issue.maximum}`
        : `Member must have value less than or equal to ${issue.maximum}`;
    case 'invalid_format':
      return `Member must satisfy regular expression pattern: ${patternOf(issue.pattern)}`;
    case 'invalid_value':
      return `Member must satisfy enum value set: [${issue.values.map(String).join(', ')}]`;
    case 'invalid_key':
      return `Map keys must satisfy constraint: [${issue.issues.map(constraintOf).join(', ')}]`;
    default:
      return issue.message;
  }
}

/** As AWS shows it: without the anchors and slashes of our notation. */
function patternOf(pattern: string | undefined): string {
  return (pattern ?? '').replace(/^\/\^?/, '').replace(/\$?\/[a-z]*$/, '');
}

/** `MemorySize` is `memorySize` in AWS's messages. */
function memberOf(path: readonly PropertyKey[]): string {
  return path.map((part) => String(part).replace(/^./, (letter) => letter.toLowerCase())).join('.');
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = Reflect.get(value, part);
  }
  return value;
}
