// Submitted code and how it is to be run: functions and apps. Types, defaults and pure rules.
import type { TenantId, WorkloadKey, WorkloadName } from '../base/ids.ts';
import { mib, type Bytes, type BytesPerSecond, type Millicores } from '../base/quantity.ts';
import type { Resources } from './resources.ts';
import type { UnitKind } from './unit-kind.ts';
import type { WebSocketSettings } from './websocket.ts';

/** Managed runtimes and how their code is started; `custom` is any command. */
export const runtimeNames = ['nodejs26.x', 'custom'] as const;
export type RuntimeName = (typeof runtimeNames)[number];

/** How answers are sent at a function's URL, in Lambda's words: when all of it is there, or as a streaming handler writes it. */
export const urlInvokeModes = ['BUFFERED', 'RESPONSE_STREAM'] as const;
export type UrlInvokeMode = (typeof urlInvokeModes)[number];

/** `host` shares the machine's network, `none` gives a network namespace with a loopback device only. */
export type NetworkMode = 'host' | 'none';

interface WorkloadBase {
  readonly key: WorkloadKey;
  readonly tenant: TenantId;
  readonly name: WorkloadName;
  readonly runtime: RuntimeName;
  /** Lower-case hex SHA-256 of the submitted archive; names the unpacked directory. */
  readonly codeSha256: string;
  readonly codeSizeBytes: number;
  /** Changes whenever running instances can no longer serve: code, environment, handler, where they run. Not on a resize. */
  readonly generation: string;
  /** What one instance asks for; a live resize changes it. */
  readonly request: Resources;
  readonly env: Readonly<Record<string, string>>;
  readonly network: NetworkMode;
  /** Where its instances run; where this Bellows runs those that do not say, when absent. */
  readonly unit?: UnitKind;
  readonly tags: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly modifiedAtMs: number;
}

export interface AppWorkload extends WorkloadBase {
  readonly kind: 'app';
  /** The command that starts the server, e.g. `node server.js`. It listens on the port in `PORT`. */
  readonly start: string;
  /** How many instances run at all times. */
  readonly scale: number;
  /** Whether it is given HTTP connections that come by its host, not their requests alone; not when absent. */
  readonly directHttp?: boolean;
}

export interface FunctionWorkload extends WorkloadBase {
  readonly kind: 'function';
  /** The runtime as it was submitted, e.g. `nodejs22.x`, for answers alone: `runtime` says what runs, and is meant when this is absent. */
  readonly runtimeIdentifier?: string;
  readonly handler: string;
  readonly timeoutMs: number;
  readonly description: string;
  /** Lambda's RevisionId: changes with every change of code or configuration. */
  readonly revisionId: string;
  /** The role's ARN as submitted; kept and returned, not used. */
  readonly role: string;
  /** In which region its caller created it, for its own environment and ARN; absent when it was not through Lambda's API. */
  readonly region?: string;
  readonly url: boolean;
  /** Of its URL; `BUFFERED` when absent. */
  readonly invokeMode?: UrlInvokeMode;
  /** Absent when it takes no WebSockets. */
  readonly websocket?: WebSocketSettings;
  /** At most this many instances at once, taken from the tenant's concurrency; null is unreserved. */
  readonly reservedConcurrency: number | null;
  /** Retries of a failed asynchronous invocation; Lambda's default is 2. */
  readonly maxRetries: number;
}

export type Workload = AppWorkload | FunctionWorkload;

/** Lambda's default memory and ours. */
export const defaultMemory = (128 * mib) as Bytes;
/** One CPU: people who develop on their own machine expect a function to run at full speed unless they say less. */
export const defaultCpu = 1000 as Millicores;
/** Lambda's default size of /tmp. */
export const defaultStorage = (512 * mib) as Bytes;
/** Lambda's most: 10,240 MiB. */
export const maxInstanceStorage = (10_240 * mib) as Bytes;
/** 1 Gbit/s. */
export const defaultBandwidth = 125_000_000 as BytesPerSecond;

export const defaultRequest: Resources = {
  memory: defaultMemory,
  cpu: defaultCpu,
  storage: defaultStorage,
  bandwidth: defaultBandwidth,
};

/** The least memory an instance can be given: a Node process that has served a request stands at 45 to 60 MiB with its code shared. */
export const minInstanceMemory = (32 * mib) as Bytes;
/** Lambda's most: 10,240 MiB. Also the V8 heap ceiling that pooled processes start with. */
export const maxInstanceMemory = (10_240 * mib) as Bytes;
