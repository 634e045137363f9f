// What a new agent does about what an earlier one left: instances that live are taken over, everything else is removed.
// Owns that decision. Runs once, before the agent serves.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { InstanceInfo } from '../../model/instance.ts';
import type { Resources } from '../../model/resources.ts';
import type { Logger } from '../../sys/log.ts';
import type { Layout } from '../../sys/layout.ts';
import { identify, isAlive, sendSignal } from '../../sys/process.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { GrantBook, lastGeneration } from '../grants.ts';
import { groupOfInstance, poolGroup, tenantsGroup } from '../groups.ts';
import { slotVariable, type Sandbox } from '../sandbox/port.ts';
import type { SlotName } from '../slot.ts';
import type { Cells } from './cells.ts';
import type { Handle, Handles } from './handle.ts';
import { Instance, type LendingSide } from './instance.ts';
import type { Exit, Instances } from './instances.ts';
import type { LogStore } from '../logs/log-store.ts';

export interface AdoptOptions {
  readonly layout: Layout;
  readonly handles: Handles;
  readonly cells: Cells;
  readonly sandbox: Sandbox;
  readonly cgroup: Cgroup;
  readonly instances: Instances;
  readonly logs: LogStore;
  readonly lending: LendingSide;
  readonly log: Logger;
  readonly onChange: (info: InstanceInfo) => void;
}

/** Returns the instances that ended while no agent looked, and the staged runtimes that are in use. */
export async function adoptAll(options: AdoptOptions): Promise<{ exits: Exit[]; runtimes: Set<string> }> {
  const { handles, log, sandbox } = options;
  const known = handles.readAll((file, reason) =>
    log.error({ file, reason }, 'a handle can not be read; its instance is ended'),
  );
  const living = known.filter((handle) => isAdoptable(handle, sandbox));
  // First, so that nothing of theirs is in the way of what follows.
  const slots = new Set<string>(living.map((handle) => handle.slot));
  await endStrays(options.layout.run, slots, log);
  for (const handle of living) await adopt(handle, options);
  await removeGroups(options, living);
  removeSlots(options, slots);
  await handles.removeAllBut(new Set(living.map((handle) => handle.spec.id)));
  const exits = known
    .filter((handle) => !living.includes(handle))
    .map(({ spec }) => ({
      id: spec.id,
      workload: spec.workload,
      code: null,
      signal: null,
      oomKilled: false,
      reason: 'it ended while no agent was there',
    }));
  if (known.length > 0)
    log.info({ adopted: living.length, ended: exits.length }, 'took over what an earlier agent left');
  return { exits, runtimes: new Set(living.map((handle) => handle.runtimeDirectory)) };
}

/** One whose start was not finished has nobody who waits for it. */
function isAdoptable(handle: Handle, sandbox: Sandbox): boolean {
  return (
    handle.ready &&
    handle.sandbox === sandbox.name &&
    isAlive(handle.processes.init) &&
    isAlive(handle.processes.main)
  );
}

async function adopt(handle: Handle, options: AdoptOptions): Promise<void> {
  const { cells, cgroup, sandbox, instances, handles, logs, onChange } = options;
  const { spec } = handle;
  const slot = cells.slot(handle.slot);
  const group = groupOfInstance(spec.tenant, spec.id);
  // Groups that are only lists in the agent's memory are made anew.
  cgroup.create(group);
  if (!cgroup.processes(group).includes(handle.processes.main.pid))
    cgroup.attach(group, handle.processes.main.pid);
  sandbox.adopt(slot, spec.codeDirectory);
  const cell = await cells.adopt(slot, handle.processes, handle.runtimeApiPort, {
    network: spec.network,
    group,
    storageBytes: handle.grant.storage,
    chargedBeforeBytes: handle.chargedBeforeBytes,
    speaksFrames: handle.endpoint.mode === 'frames',
  });
  cell.log.sink = logs.sinkOf(spec.workload, spec.id);
  // The crash may have come between a notice and its record.
  const generation = Math.max(handle.grantGeneration, lastGeneration(slot.runDirectory)) + 1;
  // What was lent is given back by this agent, before it serves (resize/holds.ts).
  const counted = (of: Resources): Resources => ({ ...of, ...handle.promised });
  const grants = new GrantBook(slot.runDirectory, counted(handle.grant), generation);
  const instance = new Instance({
    spec,
    cell,
    grants,
    endpoint: handle.endpoint,
    pooled: handle.pooled,
    startedAtMs: handle.startedAtMs,
    runtimeDirectory: handle.runtimeDirectory,
    grant: counted(handle.grant),
    desired: counted(handle.desired),
    lending: options.lending,
    cgroup,
    sandboxName: handle.sandbox,
    handles,
    onChange,
  });
  cell.api?.serve({ uid: sandbox.separateUsers ? spec.uid : (process.getuid?.() ?? 0), grants });
  if (cgroup.isFrozen(group)) instance.foundFrozen();
  grants.write();
  instance.becomeReady();
  instances.adopt(instance);
}

/** Sandboxes of ours that no handle tells of: pooled processes, and starts that a crash cut off. */
async function endStrays(runDirectory: string, slots: ReadonlySet<string>, log: Logger): Promise<void> {
  const prefix = `${slotVariable}=${join(runDirectory, 'i')}/`;
  const strays = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const slot = environmentOf(name)
        .find((entry) => entry.startsWith(prefix))
        ?.slice(prefix.length);
      const identity = slot === undefined || slots.has(slot) ? undefined : identify(Number(name));
      return identity === undefined ? [] : [identity];
    });
  for (const stray of strays) {
    log.info({ pid: stray.pid }, 'ending a process that an earlier agent left unfinished');
    sendSignal(stray, 'SIGKILL');
  }
  for (const stray of strays) while (isAlive(stray)) await new Promise((resolve) => setTimeout(resolve, 1));
}

function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  } catch {
    // It ended, or it is someone else's.
    return [];
  }
}

async function removeGroups({ cgroup }: AdoptOptions, living: readonly Handle[]): Promise<void> {
  const kept = new Set(living.map(({ spec }) => `${spec.tenant}/${spec.id}`));
  for (const slot of cgroup.children(poolGroup)) await endGroup(cgroup, [...poolGroup, slot]);
  for (const tenant of cgroup.children(tenantsGroup)) {
    for (const id of cgroup.children([...tenantsGroup, tenant])) {
      if (!kept.has(`${tenant}/${id}`)) await endGroup(cgroup, [...tenantsGroup, tenant, id]);
    }
  }
}

async function endGroup(cgroup: Cgroup, group: readonly string[]): Promise<void> {
  await cgroup.kill(group);
  await cgroup.remove(group);
}

function removeSlots({ layout, cells, sandbox }: AdoptOptions, slots: ReadonlySet<string>): void {
  for (const name of new Set([...readdirSync(join(layout.run, 'i')), ...sandbox.leftovers()])) {
    if (!slots.has(name)) cells.clearSlot(name as SlotName);
  }
}
