// The agent's configuration: what the supervisor passes, validated, and the constants of its policies with their reasons.
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';
import { mib } from '../base/quantity.ts';
import { layoutOf } from '../sys/layout.ts';
import { patience } from './patience.ts';

export const agentConfig = z.object({
  dataDirectory: z.string().startsWith('/'),
  /** What pooled processes are given; a workload may ask for the other. */
  network: z.enum(['host', 'none']),
  /** The one resource group that is ours. */
  cgroupRoot: z.string().min(1),
  /** Whether a sandbox is kept ready for starts that find no warm process. Machines that are made ahead have a process ready. */
  spareSandbox: z.boolean().default(false),
  /** Virtual machines run beside it: then what answers for those serves at the agent's socket, and this one behind it. */
  hostToo: z.boolean().default(false),
});
export type AgentConfig = z.infer<typeof agentConfig>;

/** sockaddr_un has room for 108 bytes, the last a NUL. */
const longestSocketPath = 107;

/** @throws BellowsError BadRequest when the sockets' paths would not fit. */
export function checkDataDirectory(dataDirectory: string): void {
  const longest = `${layoutOf(dataDirectory).instanceRun('s-000000000000')}/http.sock`;
  const over = Buffer.byteLength(longest) - longestSocketPath;
  if (over <= 0) return;
  throw new BellowsError(
    'BadRequest',
    `The data directory's path is ${over} bytes too long: a Unix socket's path has at most ${longestSocketPath}.`,
    'Give --data a shorter path.',
  );
}

/** Lambda's limit for the init phase. */
export const functionStartTimeoutMs = 10_000 * patience;
/** Servers load frameworks and connect to databases first; container platforms allow some 30 s before they restart. */
export const appStartTimeoutMs = 30_000 * patience;
/** An unbound runtime is ready after some 60 ms; this many times that means the machine is in trouble. */
export const runtimeStartTimeoutMs = 15_000 * patience;
/** Node runs a dozen threads, each counts; 256 leaves room for worker pools and child processes and stops a fork bomb. */
export const instancePids = 256;
/** An unbound process stands at some 45 MiB; twice that and more means that something is wrong with it. */
export const pooledMemoryBytes = 128 * mib;
/** Of the kernel's default 100: starting processes ahead must not slow those down that serve. */
export const poolCpuWeight = 10;
