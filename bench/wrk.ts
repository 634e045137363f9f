// The HTTP load of the benches: wrk, with one thread and latencies.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface Load {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface WrkOptions {
  readonly connections: number;
  readonly seconds: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** A Lua file. */
  readonly script?: string;
}

function toMs(text: string): number {
  const [, number = 'NaN', unit = 'ms'] = /([\d.]+)(us|ms|s|m)/.exec(text) ?? [];
  return Number(number) * { us: 0.001, ms: 1, s: 1000, m: 60_000 }[unit as 'us' | 'ms' | 's' | 'm'];
}

export function wrkArguments(
  url: string,
  { connections, seconds, headers = {}, script }: WrkOptions,
): string[] {
  return [
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '--latency',
    ...Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
    ...(script === undefined ? [] : ['-s', script]),
    url,
  ];
}

/** @throws Error when anything was answered otherwise than with success */
export async function wrk(url: string, options: WrkOptions): Promise<Load> {
  const { stdout: output } = await promisify(execFile)('wrk', wrkArguments(url, options), {
    encoding: 'utf8',
  });
  const failed = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(output);
  if (failed !== null) throw new Error(`wrk at ${url}: ${failed[0]}`);
  return {
    requests: Number(/(\d+) requests in/.exec(output)?.[1]),
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1]),
    p50Ms: toMs(/^ +50% +(\S+)/m.exec(output)?.[1] ?? ''),
    p99Ms: toMs(/^ +99% +(\S+)/m.exec(output)?.[1] ?? ''),
  };
}
