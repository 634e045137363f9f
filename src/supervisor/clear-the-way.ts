// What a supervisor does before it starts anything: takes the ports, and ends what an earlier one left. Owns that order. Does not
// own how sockets are made (port.ts), nor patience with what is ended (take-over.ts).
import { closeSync } from 'node:fs';
import type { GatewayConfig } from '../gateway/config.ts';
import { readCertificate } from '../gateway/tls/certificate.ts';
import type { Layout } from '../sys/layout.ts';
import { isAlive, sendSignal, type ProcessIdentity } from '../sys/process.ts';
import { holdPort, holdWhenFree } from './port.ts';
import { readProcesses } from './records.ts';
import { endLeftRunning, leftRunning } from './take-over.ts';
import { leaveSignal } from './upgrade.ts';

export interface Found {
  readonly portFd: number;
  /** Of the port for TLS; undefined where that is not served. */
  readonly tlsFd: number | undefined;
  /** Of a supervisor before, gateways that had been replaced: they go on. */
  readonly beside: ProcessIdentity[];
}

export interface ClearParts {
  readonly host: string;
  readonly port: number;
  readonly tls?: GatewayConfig['tls'];
  /** One line for the person at the terminal. */
  readonly say: (line: string) => void;
}

/** The ports are had before anything of an earlier Bellows is ended: a start that can not be must not cost what serves. @throws BellowsError that says what is in the way */
export async function clearTheWay(layout: Layout, { host, port, tls, say }: ClearParts): Promise<Found> {
  const record = readProcesses(layout);
  const left = record === undefined ? [] : leftRunning(record);
  const beside = record?.beside.filter(isAlive) ?? [];
  const gateway = record?.children.gateway;
  const gateways = [...beside, ...(gateway !== undefined && isAlive(gateway) ? [gateway] : [])];
  const ours = record?.host === host && gateways.length > 0 ? [record.port, record.tlsPort] : [];
  const hold = (each: number): Promise<number | undefined> =>
    ours.includes(each) ? Promise.resolve(undefined) : holdPort(host, each);
  if (tls?.files !== undefined) await readCertificate(tls.files, Date.now());
  let portFd: number | undefined;
  let tlsFd: number | undefined;
  try {
    portFd = await hold(port);
    if (tls !== undefined) tlsFd = await hold(tls.port);
    if (record !== undefined && left.length > 0) {
      say(`Taking over from a Bellows whose supervisor was killed (its ${left.join(', ')} still ran)…`);
      await endLeftRunning(record);
    }
    // Also one that was to take over when its supervisor was killed.
    for (const identity of beside) sendSignal(identity, leaveSignal);
    portFd ??= await holdWhenFree(host, port);
    if (tls !== undefined) tlsFd ??= await holdWhenFree(host, tls.port);
    return { portFd, tlsFd, beside };
  } catch (thrown) {
    for (const fd of [portFd, tlsFd]) if (fd !== undefined) closeSync(fd);
    throw thrown;
  }
}
