// The network of units on the host. Owns the bridge and the taps below Bellows' own names: making, shaping, removing,
// also those that a dead owner left. Names are names.ts; without rights there is none of it (QEMU's user networking).
//
// A guest's tap is isolated from others', and the bridge learns nothing from it: where a unit's address is, is written
// down here, so that no guest can take another's.
import { z } from 'zod';
import { runTool } from '../run-tool.ts';
import {
  bridgeAddress,
  bridgeName,
  freeSubnet,
  parseSubnet,
  placeOfInterface,
  shaperName,
  tapName,
  unitAddress,
  type NetworkPlace,
  type Subnet,
} from './names.ts';

const links = z.array(z.object({ ifname: z.string() }));
const addresses = z.array(
  z.object({
    addr_info: z.array(z.object({ local: z.string().optional(), prefixlen: z.number().optional() })),
  }),
);
const routes = z.array(z.object({ dst: z.string() }));

/** What is sent at once when the line was idle: 20 ms of it, and never less than two frames of a tap. */
const burstBytes = (bytesPerSecond: number): number => Math.max(Math.ceil(bytesPerSecond / 50), 2 * 65_536);
/** What waits longer than this in the queue is dropped, and its sender slows down. */
const queueMs = 100;

export interface Tap {
  readonly name: string;
  readonly address: string;
  readonly prefixLength: number;
}

export class UnitNetwork {
  readonly #hash: string;
  readonly #wanted: string | undefined;
  #subnet: Subnet | undefined;

  constructor(hash: string, subnet: string | undefined) {
    this.#hash = hash;
    this.#wanted = subnet;
  }

  /** Makes the bridge, or finds that of an earlier owner; its subnet stays as long as it does. */
  async open(): Promise<void> {
    const bridge = bridgeName(this.#hash);
    const present = links.parse(await json('ip', '-j', 'link', 'show', 'type', 'bridge'));
    if (present.some(({ ifname }) => ifname === bridge)) {
      const [shown] = addresses.parse(await json('ip', '-j', '-4', 'address', 'show', 'dev', bridge));
      const [address] = shown?.addr_info ?? [];
      if (address?.local !== undefined && address.prefixlen !== undefined) {
        const parts = address.local.split('.').map(Number);
        const number = parts.reduce((sum, part) => sum * 256 + part, 0);
        this.#subnet = { base: number - 1, prefixLength: address.prefixlen };
        return;
      }
      await batch([`link delete ${bridge}`]);
    }
    const taken = routes.parse(await json('ip', '-j', '-4', 'route', 'show', 'table', 'all'));
    const subnet =
      this.#wanted === undefined
        ? freeSubnet(
            this.#hash,
            taken.map(({ dst }) => dst),
          )
        : parseSubnet(this.#wanted);
    await batch([
      `link add ${bridge} type bridge stp_state 0 mcast_snooping 0`,
      // Nothing but what a unit's address was asked for: no router's advertisements, no neighbours of its own.
      `link set ${bridge} addrgenmode none`,
      `address add ${bridgeAddress(subnet)}/${subnet.prefixLength} dev ${bridge}`,
      `link set ${bridge} up`,
    ]);
    this.#subnet = subnet;
  }

  /** Where taps or their shapers are: whose unit is gone is to be removed. A place may be named twice. */
  async places(): Promise<NetworkPlace[]> {
    const present = links.parse(await json('ip', '-j', 'link', 'show'));
    return present.flatMap(({ ifname }) => placeOfInterface(this.#hash, ifname) ?? []);
  }

  /** Down until `connect`: a clone begins with its template's address. */
  async addTap(place: NetworkPlace): Promise<Tap> {
    const name = tapName(this.#hash, place);
    await batch([
      `tuntap add dev ${name} mode tap vnet_hdr`,
      `link set ${name} addrgenmode none`,
      `link set ${name} master ${bridgeName(this.#hash)}`,
      `link set ${name} type bridge_slave isolated on learning off flood off mcast_flood off`,
    ]);
    return this.tapOf(place);
  }

  tapOf(place: NetworkPlace): Tap {
    const subnet = this.#open();
    return {
      name: tapName(this.#hash, place),
      address: unitAddress(subnet, place.slot),
      prefixLength: subnet.prefixLength,
    };
  }

  /** The unit has its own address now, or moves with it: lets it in, and writes down where it is. */
  async connect(place: NetworkPlace, mac: string): Promise<void> {
    const { name, address } = this.tapOf(place);
    await batch([
      `link set ${name} up`,
      `neighbour replace ${address} lladdr ${mac} dev ${bridgeName(this.#hash)} nud permanent`,
    ]);
    await runTool('bridge', ['fdb', 'replace', mac, 'dev', name, 'master', 'static']);
  }

  /** Bytes per second, each way; null: no limit. Changes while traffic flows. */
  async shape(place: NetworkPlace, bytesPerSecond: number | null): Promise<void> {
    const [tap, shaper] = [tapName(this.#hash, place), shaperName(this.#hash, place)];
    if (bytesPerSecond === null) {
      await runTool('tc', ['-force', '-batch', '-'], {
        input: `qdisc del dev ${tap} root\nqdisc del dev ${tap} ingress\n`,
      }).catch(() => undefined);
      await this.#deleteLinks([shaper]);
      return;
    }
    const limit = `tbf rate ${Math.ceil(bytesPerSecond) * 8}bit burst ${burstBytes(bytesPerSecond)} latency ${queueMs}ms`;
    const present = links.parse(await json('ip', '-j', 'link', 'show', 'type', 'ifb'));
    if (present.some(({ ifname }) => ifname === shaper)) {
      await runTool('tc', ['-batch', '-'], {
        input: `qdisc replace dev ${tap} root ${limit}\nqdisc replace dev ${shaper} root ${limit}\n`,
      });
      return;
    }
    await batch([`link add ${shaper} type ifb`, `link set ${shaper} addrgenmode none up`]);
    await runTool('tc', ['-batch', '-'], {
      input:
        `qdisc replace dev ${shaper} root ${limit}\nqdisc replace dev ${tap} root ${limit}\n` +
        `qdisc add dev ${tap} handle ffff: ingress\n` +
        `filter add dev ${tap} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev ${shaper}\n`,
    });
  }

  async removeTap(place: NetworkPlace): Promise<void> {
    await this.#deleteLinks([tapName(this.#hash, place), shaperName(this.#hash, place)]);
  }

  /** Forgets where the unit is, which is nowhere any more. */
  async disconnect({ slot }: NetworkPlace): Promise<void> {
    const subnet = this.#subnet;
    if (subnet === undefined) return;
    const address = unitAddress(subnet, slot);
    await runTool('ip', ['neighbour', 'delete', address, 'dev', bridgeName(this.#hash)]).catch(
      () => undefined,
    );
  }

  /** Takes the bridge away if no tap is left on it. */
  async close(): Promise<void> {
    if ((await this.places()).length === 0) await this.#deleteLinks([bridgeName(this.#hash)]);
    this.#subnet = undefined;
  }

  #open(): Subnet {
    if (this.#subnet === undefined) throw new Error('the network is not open');
    return this.#subnet;
  }

  async #deleteLinks(names: readonly string[]): Promise<void> {
    const present = links.parse(await json('ip', '-j', 'link', 'show'));
    const there = names.filter((name) => present.some(({ ifname }) => ifname === name));
    if (there.length > 0) await batch(there.map((name) => `link delete ${name}`));
  }
}

function batch(lines: readonly string[]): Promise<string> {
  return runTool('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

async function json(program: string, ...args: string[]): Promise<unknown> {
  return JSON.parse((await runTool(program, args)) || '[]');
}
