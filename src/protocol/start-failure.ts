// A start that failed in user code travels as the error payload that Lambda's clients get, in JSON. For everybody else:
// the same in words. Pure.
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';

const payload = z.object({ errorType: z.string(), errorMessage: z.string(), trace: z.array(z.string()) });

/** A StartFailed whose message is Lambda's payload gets one for people; any other error is returned as it is. */
export function wordedStartFailure(error: BellowsError): BellowsError {
  if (error.code !== 'StartFailed') return error;
  let said: z.infer<typeof payload>;
  try {
    said = payload.parse(JSON.parse(error.message));
  } catch {
    return error;
  }
  const why = said.errorMessage.replace(/^Error: /, '');
  // A stack begins with the message, line by line.
  const lines = why.split('\n');
  const repeats = lines.every((line, index) => said.trace[index]?.endsWith(line) === true);
  const trace = repeats ? said.trace.slice(lines.length) : said.trace;
  return new BellowsError(
    error.code,
    [`It could not be started: ${why}`, ...trace.map((line) => `    ${line.trim()}`)].join('\n'),
    error.hint ?? 'Correct the code, and deploy it again.',
    { cause: error },
  );
}
