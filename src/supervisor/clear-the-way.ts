// What a supervisor does before it starts anything: takes the ports, also from gateways that an earlier one left, and ends what else
// that left. Owns that order. Does not own how sockets are made (port.ts) or handed over (handed-sockets.ts), nor patience with what is ended (take-over.ts).
import { closeSync } from 'node:fs';
import type { GatewayConfig } from '../gateway/config.ts';
import { readCertificate } from '../gateway/tls/certificate.ts';
import type { Layout } from '../sys/layout.ts';
import { isAlive, sendSignal, type ProcessIdentity } from '../sys/process.ts';
import { handedBy } from './handed-sockets.ts';
import { holdMore, holdPort, holdWhenFree } from './port.ts';
import { readProcesses, type ProcessRecord } from './records.ts';
import { endLeftRunning, leftRunning } from './take-over.ts';
import { leaveSignal } from './upgrade.ts';

export interface Found {
  /** For each gateway its sockets: of the port, and of the one for TLS where that is served. */
  readonly listening: readonly (readonly number[])[];
  /** Gateways of a supervisor before: they go on with what they carry. */
  readonly beside: readonly ProcessIdentity[];
  /** Those of them that still accept: they are to leave when the new ones do. */
  readonly former: readonly ProcessIdentity[];
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

/**
 * The ports are had before anything of an earlier Bellows is ended: a start that can not be must not cost what serves. Its gateways
 * hand over the sockets that they accept from, and are not ended at all; one that does not is.
 * @throws BellowsError that says what is in the way
 */
export async function clearTheWay(
  layout: Layout,
  { host, port, tls, gateways: count = 1, say }: ClearParts,
): Promise<Found> {
  const record = readProcesses(layout);
  const left = record === undefined ? [] : leftRunning(record);
  const gateways = record === undefined ? [] : gatewaysOf(record).filter(isAlive);
  if (tls?.files !== undefined) await readCertificate(tls.files, Date.now());
  const ports = tls === undefined ? [port] : [port, tls.port];
  const { sockets, by: former } = await handedBy(layout, gateways);
  const isOurs = (each: number): boolean =>
    record?.host === host && gateways.length > 0 && [record.port, record.tlsPort].includes(each);
  const held = new Map<number, number[]>();
  const unused = new Map(sockets);
  try {
    for (const each of ports) {
      const there = isOurs(each) ? sockets.get(each) : undefined;
      if (there !== undefined) {
        unused.delete(each);
        held.set(each, await holdMore(there, host, each, count));
      } else if (!isOurs(each)) held.set(each, await holdPort(host, each, count));
    }
    if (record !== undefined && left.length > 0) {
      say(`Taking over from a Bellows whose supervisor was killed (its ${left.join(', ')} still ran)…`);
      await endLeftRunning(record, former);
    }
    const beside = gateways.filter(isAlive);
    // They were replaced, or were to take over and accept nothing yet.
    for (const each of beside) if (!former.includes(each)) sendSignal(each, leaveSignal);
    for (const each of ports) if (!held.has(each)) held.set(each, await holdWhenFree(host, each, count));
    const listening = Array.from({ length: count }, (_, place) =>
      ports.map((each) => held.get(each)?.[place] ?? -1),
    );
    return { listening, beside, former };
  } catch (thrown) {
    for (const fd of [...held.values()].flat()) closeSync(fd);
    throw thrown;
  } finally {
    for (const fd of [...unused.values()].flat()) closeSync(fd);
  }
}

function gatewaysOf({ children: { gateway }, gateways, beside }: ProcessRecord): ProcessIdentity[] {
  return [...(gateway === undefined ? [] : [gateway]), ...gateways, ...beside];
}
