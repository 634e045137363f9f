// A start that failed in user code travels as the error payload that Lambda's clients get, in JSON. For everybody else:
// the same in words. Pure.
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';

const payload = z.object({ errorType: z.string(), errorMessage: z.string(), trace: z.array(z.string()) });

/** Frames say where in the user's code to look; deeper than this they rarely add to it. */
const maxFrames = 5;
const isFrame = (line: string): boolean => /^\s+at /.test(line);
/** Of Node's own loader: the same lines for every file that can not be loaded. */
const isInternal = (line: string): boolean => /\bnode:internal\//.test(line);

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
  const trace = ofTheUser(repeats ? said.trace.slice(lines.length) : said.trace);
  return new BellowsError(
    error.code,
    [`It could not be started: ${why}`, ...trace.map((line) => `    ${line.trim()}`)].join('\n'),
    error.hint ?? 'Correct the code, and deploy it again.',
    { cause: error },
  );
}

/** Without frames of Node's own and those beyond `maxFrames`; lines that are no frames are kept. */
function ofTheUser(trace: readonly string[]): string[] {
  const kept = trace.filter((line) => !isFrame(line) || !isInternal(line));
  const frames = kept.filter(isFrame).slice(0, maxFrames);
  return kept.filter((line) => !isFrame(line) || frames.includes(line));
}
