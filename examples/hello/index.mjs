// The smallest function: greets, and shows what it may use and how often this copy of it was called.
import { readFileSync } from 'node:fs';

let calls = 0;

export async function handler(event, context) {
  calls += 1;
  const name = event?.name ?? event?.queryStringParameters?.name ?? 'world';
  return {
    message: `Hello, ${name}!`,
    memory: grant()?.memory ?? `${context.memoryLimitInMB}MiB`,
    calls,
    pid: process.pid,
  };
}

/** What this instance may use now: changes while it runs, e.g. `bellows resize hello --memory 256MiB`. */
function grant() {
  const file = process.env.BELLOWS_GRANT_FILE;
  return file === undefined ? undefined : JSON.parse(readFileSync(file, 'utf8'));
}
