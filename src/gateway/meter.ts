// Counts what is carried, per workload, between two reports. Owns counting; limiting bandwidth is not here.
import type { Socket } from 'node:net';
import type { WorkloadKey } from '../base/ids.ts';
import type { CallTrace } from '../protocol/routes.ts';

export interface Counter {
  requests: number;
  errors: number;
  throttles: number;
  bytesIn: number;
  bytesOut: number;
}

/** What holds now rather than since the last report, and what is counted elsewhere since then. */
export interface Gauges {
  readonly busyInstances: number;
  readonly waiting: number;
  readonly connections: number;
  readonly openRequests?: number | undefined;
  readonly calls?: CallTrace | undefined;
}

export type TrafficLine = { readonly workload: WorkloadKey } & Counter & Gauges;

function emptyCounter(): Counter {
  return { requests: 0, errors: 0, throttles: 0, bytesIn: 0, bytesOut: 0 };
}

/** How far a client connection's bytes have been counted: one connection carries many requests. */
const counted = new WeakMap<Socket, { read: number; written: number }>();

export class Meter {
  readonly #counters = new Map<WorkloadKey, Counter>();

  /** The workload's counter; keep it no longer than one turn, a report starts new ones. */
  of(workload: WorkloadKey): Counter {
    let counter = this.#counters.get(workload);
    if (counter === undefined) this.#counters.set(workload, (counter = emptyCounter()));
    return counter;
  }

  /** Counts the bytes, heads included, that went over a client's connection since it was last counted here. */
  countConnection(workload: WorkloadKey, socket: Socket): void {
    const { bytesRead, bytesWritten } = socket;
    let mark = counted.get(socket);
    if (mark === undefined) counted.set(socket, (mark = { read: 0, written: 0 }));
    const counter = this.of(workload);
    counter.bytesIn += bytesRead - mark.read;
    counter.bytesOut += bytesWritten - mark.written;
    mark.read = bytesRead;
    mark.written = bytesWritten;
  }

  /** Counts bytes of an exchange whose own they are known to be. */
  countBytes(workload: WorkloadKey, bytesIn: number, bytesOut: number): void {
    const counter = this.of(workload);
    counter.bytesIn += bytesIn;
    counter.bytesOut += bytesOut;
  }

  /** What a connection carried until now was counted, or is nobody's. @param bytesUnused read, and still to be counted */
  markCounted(socket: Socket, bytesUnused: number): void {
    counted.set(socket, { read: socket.bytesRead - bytesUnused, written: socket.bytesWritten });
  }

  /** Lines for all that carried something since the last call, or holds something now. */
  take(gauges: ReadonlyMap<WorkloadKey, Gauges>): TrafficLine[] {
    for (const [workload, { busyInstances, waiting, connections, calls }] of gauges) {
      if (busyInstances + waiting + connections > 0 || calls !== undefined) this.of(workload);
    }
    const nothing: Gauges = { busyInstances: 0, waiting: 0, connections: 0 };
    const lines = [...this.#counters].map(([workload, counter]) => ({
      workload,
      ...counter,
      ...(gauges.get(workload) ?? nothing),
    }));
    this.#counters.clear();
    return lines;
  }
}
