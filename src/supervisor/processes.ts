// How the three processes are started: which file, with what configuration. Owns no process.
import { fileURLToPath } from 'node:url';
import type { NetworkMode } from '../model/workload.ts';
import type { FleetConfig } from '../units/fleet/config.ts';
import type { GatewayConfig } from '../gateway/config.ts';
import type { Layout } from '../sys/layout.ts';
import type { ProcessIdentity } from '../sys/process.ts';
import { cgroupRootOf } from './data-directory.ts';
import type { ChildName } from './records.ts';

/** src/*.ts in a checkout, dist/*.js where it is installed. */
const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entries: Readonly<Record<ChildName | 'units', string>> = {
  agent: `../agent/main.${ending}`,
  'host-agent': `../agent/main.${ending}`,
  units: `../units/main.${ending}`,
  controller: `../api/controller-main.${ending}`,
  gateway: `../gateway/main.${ending}`,
  sweep: `../units/sweep-main.${ending}`,
};

/** Where gateways find the pipe on which they say that they are ready, and that they leave: the first descriptor after the standard ones. */
const wordDescriptor = 3;
/** And the sockets of the port, and of the one for TLS where that is served (launch.ts). */
const listenDescriptor = 4;
const tlsListenDescriptor = 5;

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

export interface ProcessesConfig {
  readonly port: number;
  readonly host: string;
  readonly network: NetworkMode;
  /** Where TLS is served too, and by which certificate; see src/gateway/config.ts. */
  readonly tls?: GatewayConfig['tls'];
  /** Proxies that are believed. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** How slowly a request's body may come. */
  readonly bodyFloor?: GatewayConfig['bodyFloor'];
  readonly poolMaximum?: number | undefined;
  readonly keepAliveMs?: number | undefined;
  readonly hibernateAfterMs?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** How long a gateway that was replaced may go on with what it carries; undefined: as long as that lasts. */
  readonly leavingMs?: number | undefined;
  /** Virtual machines, and what they are like; null where instances are processes of this machine. */
  readonly units: FleetConfig['units'] | null;
  /** Beside virtual machines instances run on this machine too, with its own agent. */
  readonly hostToo: boolean;
}

/**
 * Half of what V8 lets its young generation become. Requests leave garbage only, so it grows to the most there may be, of
 * which two parts are resident: of 9 KiB for each of 10,000 held connections 5.5 are left. A request took as long as before.
 */
const gatewayHeap = ['--max-semi-space-size=16'];

/** @param virtual whether the agent's place is taken by the fleet of virtual machines, which serves the same at the same socket */
export function programOf(name: ChildName, virtual: boolean): Program {
  const which = name === 'agent' && virtual ? 'units' : name;
  const entry = fileURLToPath(new URL(entries[which], import.meta.url));
  // node:ffi and node:sqlite say that they are experimental; which Node runs is pinned.
  const args = ['--disable-warning=ExperimentalWarning', ...(name === 'gateway' ? gatewayHeap : []), entry];
  return { command: process.execPath, args };
}

/** What a gateway is told in addition. */
export interface GatewayPlace {
  /** Other gateways that run. */
  readonly beside: readonly ProcessIdentity[];
  /** It accepts only when it can serve everything: others serve until then. */
  readonly whenReady: boolean;
  /** Which of those that serve together it is. */
  readonly place: GatewayConfig['place'];
}

/** The environment of a child: ours and the one argument. */
export function environmentOf(
  layout: Layout,
  config: ProcessesConfig,
  place?: GatewayPlace,
): NodeJS.ProcessEnv {
  const argument = {
    dataDirectory: layout.root,
    port: config.port,
    host: config.host,
    listenDescriptor,
    wordDescriptor,
    ...place,
    leavingMs: config.leavingMs,
    network: config.network,
    tls: config.tls === undefined ? undefined : { ...config.tls, listenDescriptor: tlsListenDescriptor },
    trustedProxies: config.trustedProxies,
    bodyFloor: config.bodyFloor,
    poolMaximum: config.poolMaximum,
    keepAliveMs: config.keepAliveMs,
    hibernateAfterMs: config.hibernateAfterMs,
    memoryBytes: config.memoryBytes,
    cgroupRoot: cgroupRootOf(layout),
    spareSandbox: true,
    ...(config.units === null ? {} : { units: config.units }),
    hostToo: config.hostToo,
  };
  return { ...process.env, BELLOWS_CONFIG: JSON.stringify(argument) };
}
