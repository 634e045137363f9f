// Turns what a schema says of bad input into the error that a caller gets: which field, why, and how to solve it.
import type { z } from 'zod';
import { BellowsError, errorKinds, messageOf, type ErrorCode } from '../../base/errors.ts';

/** As many faults as a person reads in one go. */
const maxFaults = 4;

type Issue = z.core.$ZodIssue;

/** How a schema passes an error of its own on: `params` of a custom issue. */
interface IssueParams {
  readonly code?: ErrorCode;
  readonly hint?: string;
}

/** For a transform: runs `parse`, and makes its BellowsError an issue of the field. */
export function parsedBy<I, O>(parse: (input: I) => O): (input: I, context: z.RefinementCtx) => O {
  return (input, context) => {
    try {
      return parse(input);
    } catch (thrown) {
      if (!(thrown instanceof BellowsError)) throw thrown;
      const params: IssueParams =
        thrown.hint === undefined ? { code: thrown.code } : { code: thrown.code, hint: thrown.hint };
      context.addIssue({ code: 'custom', message: thrown.message, params: { ...params } });
      return undefined as never;
    }
  };
}

function paramsOf(issue: Issue): IssueParams {
  if (issue.code !== 'custom') return {};
  const { code, hint } = issue.params ?? {};
  return {
    ...(typeof code === 'string' && code in errorKinds ? { code: code as ErrorCode } : {}),
    ...(typeof hint === 'string' ? { hint } : {}),
  };
}

function fieldOf(path: readonly PropertyKey[]): string {
  return path.map(String).join('.');
}

function faultOf(issue: Issue, within: string): string {
  const field = fieldOf(issue.path);
  const where = field === '' ? '' : `"${field}": `;
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => `"${fieldOf([...issue.path, key]).slice(0, 80)}"`).join(', ');
    return `${names} ${issue.keys.length === 1 ? 'is not a field' : 'are not fields'} of ${within}.`;
  }
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined'))
    return `"${field}" is missing.`;
  // The fault of a key says itself what it is; the issue around it says only that there is one.
  if (issue.code === 'invalid_key') return `${where}${issue.issues[0]?.message ?? issue.message}.`;
  const why = issue.message
    .replace(/^Invalid (input|option|string): /, '')
    .replace(/^./, (letter) => letter.toLowerCase());
  return `${where}${issue.code === 'custom' ? issue.message : why}`.replace(/\.?$/, '.');
}

/**
 * @param within what the input is, as in "not a field of …"
 * @param code of the error, unless every fault has one and the same code of its own
 */
function invalidInput(error: z.ZodError, within: string, code?: ErrorCode): BellowsError {
  const issues = error.issues;
  const faults = issues.slice(0, maxFaults).map((issue) => faultOf(issue, within));
  if (issues.length > maxFaults) faults.push(`And ${issues.length - maxFaults} more.`);
  const own = new Set(issues.map((issue) => paramsOf(issue).code));
  const [only] = own;
  const hint = issues.map((issue) => paramsOf(issue).hint).find((text) => text !== undefined);
  return new BellowsError(
    code ?? (own.size === 1 && only !== undefined ? only : 'BadRequest'),
    faults.join(' '),
    hint ?? 'Correct or remove what is named; /v1/openapi.json describes every field.',
  );
}

/** @throws BellowsError BadRequest, or the code that the schema's own issues carry, or `code` */
export function parseInput<T>(schema: z.ZodType<T>, input: unknown, within: string, code?: ErrorCode): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw invalidInput(parsed.error, within, code);
}

/** @param subject begins the sentence that says what is wrong. @throws BellowsError */
export function parseJson(bytes: Uint8Array, subject: string, code: ErrorCode = 'BadRequest'): unknown {
  const text = Buffer.from(bytes)
    .toString('utf8')
    .replace(/^\u{feff}/u, '');
  if (text.trim() === '') throw new BellowsError(code, `${subject} is empty.`, 'Send a JSON object.');
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new BellowsError(
      code,
      `${subject} is not JSON: ${messageOf(thrown)}.`,
      'Check quotes, commas and braces.',
    );
  }
}
