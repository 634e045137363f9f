// Which processes belong to a data directory, on disk: so that the next `bellows up` finds them, and so that the command
// line finds the port. Owns run/processes.json and endpoint.json.
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isMissing, knownSystemError } from '../base/errors.ts';
import type { Layout } from '../sys/layout.ts';

/**
 * `host-agent`: of this machine, where virtual machines run beside it and what answers for those is the `agent` of all. `sweep`: ends
 * what nobody would answer for, before there are others.
 */
export const childNames = ['agent', 'host-agent', 'controller', 'gateway', 'sweep'] as const;
export type ChildName = (typeof childNames)[number];

const identity = z.object({ pid: z.number().int().positive(), startTicks: z.number().int() });

const processRecord = z.object({
  supervisor: identity,
  host: z.string(),
  port: z.number(),
  tlsPort: z.number().optional(),
  children: z.object({
    agent: identity.optional(),
    'host-agent': identity.optional(),
    controller: identity.optional(),
    gateway: identity.optional(),
    sweep: identity.optional(),
  }),
  /** Gateways in the other places. */
  gateways: z.array(identity).default([]),
  /** Gateways beside those: what an upgrade has replaced finishes what it carries; or one that is to take over. */
  beside: z.array(identity).default([]),
});
export type ProcessRecord = z.infer<typeof processRecord>;

const endpointRecord = z.object({ url: z.url() });
export type EndpointRecord = z.infer<typeof endpointRecord>;

const processesPath = (layout: Layout): string => join(layout.run, 'processes.json');
const endpointPath = (dataDirectory: string): string => join(dataDirectory, 'endpoint.json');

/** Undefined when there is none, or when what is there is not one (a disk that was full): then nothing is known. */
export function readProcesses(layout: Layout): ProcessRecord | undefined {
  return readRecord(processesPath(layout), processRecord);
}

export function writeProcesses(layout: Layout, record: ProcessRecord): void {
  replaceFile(processesPath(layout), JSON.stringify(record));
}

export function removeProcesses(layout: Layout): void {
  rmSync(processesPath(layout), { force: true });
}

export function readEndpoint(dataDirectory: string): EndpointRecord | undefined {
  return readRecord(endpointPath(dataDirectory), endpointRecord);
}

export function writeEndpoint(dataDirectory: string, record: EndpointRecord): void {
  replaceFile(endpointPath(dataDirectory), JSON.stringify(record));
}

export function removeEndpoint(dataDirectory: string): void {
  rmSync(endpointPath(dataDirectory), { force: true });
}

function readRecord<T>(path: string, schema: z.ZodType<T>): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    if (isMissing(thrown)) return undefined;
    throw thrown;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** At once, not asynchronously: a process that was started must be on record before anything can happen to us. */
function replaceFile(path: string, content: string): void {
  const temporary = `${path}.tmp`;
  try {
    writeFileSync(temporary, `${content}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    // A restart on a full disk: what is there has its block already, and a record torn by a crash counts as none.
    if (knownSystemError(thrown) === undefined || !overwrite(path, `${content}\n`)) throw thrown;
  }
}

/** False when there is nothing to write over, or no room even so. */
function overwrite(path: string, content: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r+');
    writeSync(fd, content);
    ftruncateSync(fd, Buffer.byteLength(content));
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
