// One instance of an app as the gateway sees it: its kept-open connections, and how many clients it serves.
// Owns them. Which instance a client gets is app-pool.ts.
import { join } from 'node:path';
import { z } from 'zod';
import type { Frame } from '../../base/frame.ts';
import type { InstanceId } from '../../base/ids.ts';
import { frameType, instanceSockets } from '../../protocol/instance.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { InstanceRoute } from '../../protocol/routes.ts';
import { connectionCounts } from '../../protocol/schemas.ts';
import type { Line } from '../bandwidth/line.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import { InstanceLink } from '../links/instance-link.ts';
import { doorUpstream, hostUpstream, type AppUpstream } from './upstream.ts';
import { HandoverChannel } from './handover-channel.ts';
import { TunnelCounts } from './tunnel-counts.ts';

/** What an instance tells as soon as it is connected to comes in a millisecond; one that is too busy is not waited for longer. */
const firstCountMs = 1_000;

const countsMessage = z.preprocess((text) => JSON.parse(String(text)) as unknown, connectionCounts);

export class AppInstance {
  readonly id: InstanceId;
  readonly generation: string;
  readonly upstream: AppUpstream;
  /** Undefined with mode `tcp` and in virtual machines: then all connections are tunnelled, and else those over TLS. */
  readonly handover: { readonly link: InstanceLink; readonly channel: HandoverChannel } | undefined;
  /** Requests under way through the gateway. */
  openRequests = 0;
  readonly tunnels: TunnelCounts;
  /** What all its traffic goes over. */
  readonly line: Line | undefined;
  retiring = false;
  #reportedOpen = 0;
  /** Connections that the instance has ever had, by its own count, and by ours since this gateway runs. */
  #reportedTotal = 0;
  #firstTotal: number | undefined;
  #handedOver = 0;
  readonly #ofTenant: TenantConnections;
  /** What the tenant's count has of ours. */
  #toldTenant = 0;
  #firstCountKnown = (): void => {};

  constructor(
    route: InstanceRoute,
    line: Line | undefined,
    ofTenant: TenantConnections,
    onDead: (reason: string) => void,
    onTunnels: (counts: ConnectionCounts) => void,
  ) {
    const { runDirectory, mode, door } = route.endpoint;
    this.id = route.id;
    this.generation = route.generation;
    this.line = line;
    this.#ofTenant = ofTenant;
    this.tunnels = new TunnelCounts(onTunnels);
    this.upstream =
      door === undefined ? hostUpstream(route.endpoint) : doorUpstream(route.id, route.endpoint, door);
    // An earlier gateway may have told of tunnels that ended with it.
    this.tellTunnels();
    // A socket can not be handed into another machine.
    if (mode === 'tcp' || door !== undefined) return;
    const channel = new HandoverChannel(join(runDirectory, instanceSockets.handover));
    const link = new InstanceLink(route.id, route.endpoint, {
      onOpen: () => undefined,
      onFrame: (frame) => this.#onFrame(frame),
      onLost: () => channel.close(),
      onDead,
    });
    this.handover = { link, channel };
    this.#expectFirstCount();
  }

  /** Client connections that go to it, those included that it has not reported yet. */
  get connections(): number {
    return this.#held + this.tunnels.open;
  }

  get load(): number {
    return this.connections + this.openRequests;
  }

  /** A connection was handed over and is now on its way to the instance's own count. @returns its number */
  countHandover(): number {
    this.#handedOver += 1;
    this.#tellTenant();
    return this.#handedOver;
  }

  tellTunnels(): void {
    this.tunnels.tellSoon();
  }

  close(): void {
    this.#firstCountKnown();
    // Its sockets end with it.
    this.#ofTenant.handedOver(-this.#toldTenant);
    this.#toldTenant = 0;
    this.tunnels.close();
    this.upstream.agent.destroy();
    this.handover?.link.close();
    this.handover?.channel.close();
  }

  /** What it says counts for its own tenant's limit only. @throws when it is nonsense */
  #onFrame({ type, payload }: Frame): void {
    if (type !== frameType.connections) return;
    const { open, closedByClient, closedByServer } = countsMessage.parse(payload.toString());
    this.#reportedOpen = open;
    this.#reportedTotal = open + closedByClient + closedByServer;
    // What it had before the first report and was not from this gateway, it had from the one before.
    this.#firstTotal ??= Math.max(0, this.#reportedTotal - this.#handedOver);
    this.#tellTenant();
    this.#firstCountKnown();
  }

  /** Connections that were handed over and are open, those included that it has not reported yet. */
  get #held(): number {
    const unreported = this.#handedOver - (this.#reportedTotal - (this.#firstTotal ?? 0));
    return this.#reportedOpen + Math.max(0, unreported);
  }

  #tellTenant(): void {
    const held = this.#held;
    this.#ofTenant.handedOver(held - this.#toldTenant);
    this.#toldTenant = held;
  }

  /** It may have connections from an earlier gateway. */
  #expectFirstCount(): void {
    const known = this.#ofTenant.expectCount();
    const late = setTimeout(() => this.#firstCountKnown(), firstCountMs).unref();
    this.#firstCountKnown = () => {
      this.#firstCountKnown = () => {};
      clearTimeout(late);
      known();
    };
  }
}
