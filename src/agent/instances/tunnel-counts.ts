// The connections of one instance that gateways carry, summed over gateways that come and go. Pure.
import type { ConnectionCounts } from '../../model/instance.ts';

export const noConnections: ConnectionCounts = { open: 0, closedByClient: 0, closedByServer: 0 };

export class TunnelCounts {
  readonly #present = new Map<number, ConnectionCounts>();
  /** Of gateways that are gone: what they still carried ended with them, and not by the client's will. */
  #past = noConnections;

  /**
   * @param counts the gateway's own, since it runs
   * @param beside other gateways that run; null when it does not know: one that was replaced and finishes what it carries
   */
  told(gateway: number, counts: ConnectionCounts, beside: readonly number[] | null): void {
    for (const [other, { open, closedByClient, closedByServer }] of this.#present) {
      if (other === gateway || beside === null || beside.includes(other)) continue;
      this.#past = sumOf(this.#past, { open: 0, closedByClient, closedByServer: closedByServer + open });
      this.#present.delete(other);
    }
    this.#present.set(gateway, counts);
  }

  get counts(): ConnectionCounts {
    let sum = this.#past;
    for (const counts of this.#present.values()) sum = sumOf(sum, counts);
    return sum;
  }
}

export function sumOf(a: ConnectionCounts, b: ConnectionCounts): ConnectionCounts {
  return {
    open: a.open + b.open,
    closedByClient: a.closedByClient + b.closedByClient,
    closedByServer: a.closedByServer + b.closedByServer,
  };
}
