// How the three processes are started: which file, with what configuration. Owns no process.
import { fileURLToPath } from 'node:url';
import type { NetworkMode } from '../model/workload.ts';
import type { FleetConfig } from '../units/fleet/config.ts';
import type { GatewayConfig } from '../gateway/config.ts';
import type { Layout } from '../sys/layout.ts';
import { cgroupRootOf } from './data-directory.ts';
import type { ChildName } from './records.ts';

/** src/*.ts in a checkout, dist/*.js where it is installed. */
const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entries: Readonly<Record<ChildName | 'units', string>> = {
  agent: `../agent/main.${ending}`,
  units: `../units/main.${ending}`,
  controller: `../api/controller-main.${ending}`,
  gateway: `../gateway/main.${ending}`,
};

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
  readonly poolMaximum?: number | undefined;
  readonly keepAliveMs?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** Virtual machines, and what they are like; null where instances are processes of this machine. */
  readonly units: FleetConfig['units'] | null;
}

/** @param virtual whether the agent's place is taken by the fleet of virtual machines, which serves the same at the same socket */
export function programOf(name: ChildName, virtual: boolean): Program {
  const which = name === 'agent' && virtual ? 'units' : name;
  const entry = fileURLToPath(new URL(entries[which], import.meta.url));
  // node:ffi and node:sqlite say that they are experimental; which Node runs is pinned.
  return { command: process.execPath, args: ['--disable-warning=ExperimentalWarning', entry] };
}

/** The environment of a child: ours and the one argument. */
export function environmentOf(layout: Layout, config: ProcessesConfig): NodeJS.ProcessEnv {
  const argument = {
    dataDirectory: layout.root,
    port: config.port,
    host: config.host,
    network: config.network,
    tls: config.tls,
    trustedProxies: config.trustedProxies,
    poolMaximum: config.poolMaximum,
    keepAliveMs: config.keepAliveMs,
    memoryBytes: config.memoryBytes,
    cgroupRoot: cgroupRootOf(layout),
    spareSandbox: true,
    ...(config.units === null ? {} : { units: config.units }),
  };
  return { ...process.env, BELLOWS_CONFIG: JSON.stringify(argument) };
}
