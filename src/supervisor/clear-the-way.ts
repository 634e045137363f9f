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
  /** For each gateway its sockets: of the port, and of the one for TLS where that is served. */
  readonly listening: readonly (readonly number[])[];
  /** Of a supervisor before, gateways that had been replaced: they go on. */
  readonly beside: ProcessIdentity[];
}

export interface ClearParts {
  readonly host: string;
  readonly port: number;
  readonly tls?: GatewayConfig['tls'];
  /** How many gateways there are to be; undefined for one. */
  readonly gateways?: number | undefined;
  /** One line for the person at the terminal. */
  readonly say: (line: string) => void;
}

/** The ports are had before anything of an earlier Bellows is ended: a start that can not be must not cost what serves. @throws BellowsError that says what is in the way */
export async function clearTheWay(
  layout: Layout,
  { host, port, tls, gateways: count = 1, say }: ClearParts,
): Promise<Found> {
  const record = readProcesses(layout);
  const left = record === undefined ? [] : leftRunning(record);
  const beside = record?.beside.filter(isAlive) ?? [];
  const serving = record === undefined ? [] : [record.children.gateway, ...record.gateways];
  const accepting = [...beside, ...serving.filter((each) => each !== undefined && isAlive(each))];
  const ours = record?.host === host && accepting.length > 0 ? [record.port, record.tlsPort] : [];
  if (tls?.files !== undefined) await readCertificate(tls.files, Date.now());
  const ports = tls === undefined ? [port] : [port, tls.port];
  const held = new Map<number, number[]>();
  try {
    for (const each of ports) if (!ours.includes(each)) held.set(each, await holdPort(host, each, count));
    if (record !== undefined && left.length > 0) {
      say(`Taking over from a Bellows whose supervisor was killed (its ${left.join(', ')} still ran)…`);
      await endLeftRunning(record);
    }
    // Also one that was to take over when its supervisor was killed.
    for (const identity of beside) sendSignal(identity, leaveSignal);
    for (const each of ports) if (!held.has(each)) held.set(each, await holdWhenFree(host, each, count));
    const listening = Array.from({ length: count }, (_, place) =>
      ports.map((each) => held.get(each)?.[place] ?? -1),
    );
    return { listening, beside };
  } catch (thrown) {
    for (const fds of held.values()) for (const fd of fds) closeSync(fd);
    throw thrown;
  }
}
