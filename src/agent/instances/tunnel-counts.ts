// The connections of one instance that gateways carry, summed over gateways that come and go. Pure.
import type { ConnectionCounts } from '../../model/instance.ts';

export const noConnections: ConnectionCounts = { open: 0, closedByClient: 0, closedByServer: 0 };

export class TunnelCounts {
  #gateway: number | undefined;
  #present = noConnections;
  /** Of gateways that are gone: what they still carried ended with them, and not by the client's will. */
  #past = noConnections;

  /** @param counts the gateway's own, since it runs */
  told(gateway: number, counts: ConnectionCounts): void {
    if (gateway !== this.#gateway) {
      const { open, closedByClient, closedByServer } = this.#present;
      this.#past = sumOf(this.#past, { open: 0, closedByClient, closedByServer: closedByServer + open });
      this.#gateway = gateway;
    }
    this.#present = counts;
  }

  get counts(): ConnectionCounts {
    return sumOf(this.#past, this.#present);
  }
}

export function sumOf(a: ConnectionCounts, b: ConnectionCounts): ConnectionCounts {
  return {
    open: a.open + b.open,
    closedByClient: a.closedByClient + b.closedByClient,
    closedByServer: a.closedByServer + b.closedByServer,
  };
}
