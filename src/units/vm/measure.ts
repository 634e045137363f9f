// What a unit costs the host, by the kernel's own figures of QEMU's process and its group. Owns reading them.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { VmHost } from './host.ts';
import type { UnitRecord } from './record.ts';
import { RestingUnit } from './resting.ts';
import type { UnitView } from './view.ts';
import { driverName } from './view.ts';

export function measureUnit(
  host: VmHost,
  unit: UnitView | RestingUnit,
): Omit<UnitMeasure, 'state' | 'tenant'> {
  const { record } = unit instanceof RestingUnit ? unit : unit.core;
  // At rest no process is its: the number may be another's by now.
  const pid = record.processes?.qemu.pid ?? null;
  const { cgroup } = host.options;
  return {
    id: record.id,
    driver: driverName,
    pid,
    provisioned: unit.provisioned,
    claimed: unit.claimed,
    mayHibernate: unit.outlivedByConnections,
    carriedPackets: pid === null ? null : carriedBy(host, record),
    hostPrivateBytes: pid === null ? 0 : privateBytes(pid),
    hostGroupBytes: cgroup.capabilities.exactUsage ? cgroup.usage(record.group).memoryBytes : null,
    hostStorageBytes: host.scratch.hostBytes(record.id) + snapshotBytes(host.snapshotDirectory(record.id)),
  };
}

/**
 * Memory that would be free if the process were not: pages of its own, without those of files, among them the template,
 * which the kernel also calls private while only one clone has looked at them. 0 when it is gone.
 */
export function privateBytes(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    return Number(/^Anonymous:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Packets, both ways; null where it has no tap. */
export function carriedBy({ network }: VmHost, record: UnitRecord): number | null {
  if (network === null || record.network !== 'tap') return null;
  const counters = `/sys/class/net/${network.tapOf(record).name}/statistics`;
  const count = (name: string): number => Number(readFileSync(join(counters, name), 'latin1'));
  try {
    return count('rx_packets') + count('tx_packets');
  } catch {
    return null;
  }
}

/** What the host's file system holds for it while it rests; the kernel counts blocks of 512 bytes. */
function snapshotBytes(directory: string): number {
  if (!existsSync(directory)) return 0;
  const blocks = readdirSync(directory).map((name) => statSync(join(directory, name)).blocks);
  return blocks.reduce((sum, each) => sum + each, 0) * 512;
}
