// The four resources and vectors of them. Pure types and arithmetic that every layer above shares.
import {
  formatBandwidth,
  formatBytes,
  formatCpu,
  parseBandwidth,
  parseBytes,
  parseCpu,
  type Bytes,
  type BytesPerSecond,
  type Millicores,
} from '../base/quantity.ts';

export const resourceKinds = ['memory', 'cpu', 'storage', 'bandwidth'] as const;
export type ResourceKind = (typeof resourceKinds)[number];

/** A quantity of each resource, each in its own unit. */
export interface Resources {
  readonly memory: Bytes;
  readonly cpu: Millicores;
  readonly storage: Bytes;
  readonly bandwidth: BytesPerSecond;
}

export function sameResources(left: Resources, right: Resources): boolean {
  return resourceKinds.every((kind) => left[kind] === right[kind]);
}

export type PartialResources = { readonly [K in ResourceKind]?: Resources[K] | undefined };

const notation = {
  memory: { parse: parseBytes, format: formatBytes },
  cpu: { parse: parseCpu, format: formatCpu },
  storage: { parse: parseBytes, format: formatBytes },
  bandwidth: { parse: parseBandwidth, format: formatBandwidth },
} as const;

/** @throws BellowsError InvalidQuantity */
export function parseResource<K extends ResourceKind>(kind: K, input: unknown): Resources[K] {
  return notation[kind].parse(input) as Resources[K];
}

export function formatResource(kind: ResourceKind, amount: number): string {
  return notation[kind].format(amount);
}

export type FormattedResources = { readonly [K in ResourceKind]: string };

export function formatResources(resources: Resources): FormattedResources {
  return {
    memory: formatBytes(resources.memory),
    cpu: formatCpu(resources.cpu),
    storage: formatBytes(resources.storage),
    bandwidth: formatBandwidth(resources.bandwidth),
  };
}
