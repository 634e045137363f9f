// console and the standard streams of a function, as Lambda's Node runtime has them:
// `TIME<tab>REQUEST ID<tab>LEVEL<tab>message`, a message of several lines kept one entry by \r for its line breaks.
// Owns formatting. Does not own writing (invocation-log.ts). Apps keep Node's own console.
import { Buffer } from 'node:buffer';
import { format } from 'node:util';
import process from 'node:process';
import { nowMs } from './primordials.ts';

const { from } = Buffer;
const RealDate = Date;
const levels = {
  log: 'INFO',
  info: 'INFO',
  debug: 'DEBUG',
  warn: 'WARN',
  error: 'ERROR',
  trace: 'TRACE',
} as const;

export interface TextSink {
  write(text: string): void;
}

/** One entry of the log. `requestId` is empty while the function initialises, as on Lambda `undefined` is written. */
export function logEntry(requestId: string | undefined, level: string, message: string): string {
  const time = new RealDate(nowMs()).toISOString();
  return `${time}\t${requestId ?? 'undefined'}\t${level}\t${message.replaceAll('\n', '\r')}\n`;
}

/** Replaces console's methods, and sends what is written to process.stdout and stderr the same way. */
export function installConsole(sink: TextSink, currentRequestId: () => string | undefined): void {
  for (const [method, level] of Object.entries(levels) as [keyof typeof levels, string][]) {
    console[method] = (...values: unknown[]): void => {
      let message = format(...values);
      if (method === 'trace') message = new Error(message).stack?.replace(/^Error/, 'Trace') ?? message;
      sink.write(logEntry(currentRequestId(), level, message));
    };
  }
  // Lazily, since making these streams costs memory that most functions never need.
  for (const name of ['stdout', 'stderr'] as const) routeStream(name, sink);
}

function routeStream(name: 'stdout' | 'stderr', sink: TextSink): void {
  const original = Object.getOwnPropertyDescriptor(process, name);
  let routed: NodeJS.WriteStream | undefined;
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get: () => {
      if (routed === undefined) {
        routed = original?.get?.call(process) as NodeJS.WriteStream;
        routed.write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
          const encoding = typeof rest[0] === 'string' ? (rest[0] as BufferEncoding) : 'utf8';
          const text =
            typeof chunk === 'string' && encoding === 'utf8'
              ? chunk
              : from(chunk as string, encoding).toString();
          sink.write(text);
          const callback = rest.find((value) => typeof value === 'function') as (() => void) | undefined;
          if (callback !== undefined) process.nextTick(callback);
          return true;
        };
      }
      return routed;
    },
  });
}
