// What the owner of virtual machines is given: a unit driver, and what it can do with a machine beyond what every driver
// can. Owns types only; driver.ts keeps them. Whose a unit is, and how many there should be, is the fleet's matter.
import type { UnitId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { GuestProtocol, TrimStep } from '../../protocol/guest.ts';
import type { Caller, EventOf } from '../../protocol/rpc.ts';
import type { Cgroup, GroupPath } from '../../agent/cgroup/port.ts';
import type { Unit, UnitDriver, UnitHandle } from '../port.ts';
import type { Accelerator } from './accelerator.ts';
import type { GuestImage } from './image/port.ts';

/** Where a unit's door answers, and what opens it: an endpoint's `door`. */
export type Door = NonNullable<Endpoint['door']>;

export interface VmUnit extends Unit {
  /** Its address is its own and stays while it rests, and with it connections. */
  readonly outlivedByConnections: boolean;
  /** QEMU's number on the host. */
  readonly pid: number;
  /** The same link as `agent`, with what only an agent in a virtual machine can be asked. */
  readonly guest: Caller<GuestProtocol>;
  readonly door: Door;
  /** The guest's own events, `pressure` among them; the returned function ends it. */
  subscribeGuest(listener: (event: EventOf<GuestProtocol>) => void): () => void;
}

/** What a claim of memory came to. Less than was asked when the guest needs the rest: that is no error. */
export interface MemoryClaim {
  /** Of the whole unit, afterwards, by QEMU's word. */
  readonly claimedBytes: number;
  readonly durationMs: number;
  readonly steps: readonly TrimStep[];
  /** The balloon made no progress, so that everything was released. */
  readonly stalled: boolean;
}

/** What a move to a second machine took. */
export interface MoveReport {
  /** How long neither of the two ran. */
  readonly pauseMs: number;
  /** Memory that the second has of its own because the first had. */
  readonly copiedBytes: number;
}

/** How a unit came to be, and how long each part took. */
export interface ProvisionReport {
  readonly from: 'boot' | 'template' | 'snapshot';
  /** Until QEMU ran the guest. */
  readonly launchMs: number;
  /** Until the agent's first answer. */
  readonly firstAnswerMs: number;
  /** Until it had its identity. */
  readonly totalMs: number;
}

export interface VmDriverOptions {
  readonly image: GuestImage;
  /** Bellows' data directory: handles in units/, templates in templates/, scratch disks in scratch/, sockets in run/u/. */
  readonly dataDirectory: string;
  /** The host's groups. A unit begins in `pool/UNIT`. */
  readonly cgroup: Cgroup;
  /** What {@link probeAccelerator} found. */
  readonly accelerator: Accelerator;
  /** Where Bellows itself answers on the host's loopback; null: nowhere. */
  readonly ownPort: number | null;
  /** The subnet of Bellows' bridge, `10.213.0.0/16`; by default the first of some that no route of the machine meets. */
  readonly subnet?: string;
  /** `user`: QEMU's user networking even where there are rights for taps. Default: `auto`. */
  readonly network?: 'auto' | 'user';
  /** The program; default `qemu-system-x86_64`, of the path. */
  readonly qemu?: string;
  /** Told of what is not as it should be and stops nothing: a message that does not fit its schema, a leftover that stays. */
  readonly onDefect: (error: unknown, context: string) => void;
}

export interface VmDriver extends UnitDriver {
  /**
   * Sweeps what a dead owner left (units that are gone: their taps, disks, groups, files), and makes the bridge.
   * To be called once, before all else. Answers the handles of the units that live, for `adopt`.
   */
  open(): Promise<UnitHandle[]>;
  /** Makes the template that units of this size are cloned from, unless there is one. `provision` does it too. */
  prepareTemplate(size: Resources): Promise<void>;
  /** A clone of the template, with an identity of its own. @throws BellowsError NoRoom, StartFailed, NotSupportedHere */
  provision(id: UnitId, size: Resources): Promise<VmUnit>;
  /** The same by booting: what a clone is measured against. */
  boot(id: UnitId, size: Resources): Promise<VmUnit>;
  adopt(handle: UnitHandle): Promise<VmUnit>;
  /**
   * A unit that rests, left resting: to be measured and destroyed, and woken by `adopt`. Undefined for one that does not rest, or
   * is not there.
   */
  resting(handle: UnitHandle): Promise<VmUnit | undefined>;
  /** Undefined for a unit that was adopted. */
  provisionReport(unit: Unit): ProvisionReport | undefined;
  /**
   * Changes what is left to use: `size` at most what was provisioned. Growth is released before it returns.
   * @throws BellowsError Infeasible above what was provisioned, or when the guest can not spare the difference.
   */
  resize(unit: Unit, size: Resources): Promise<void>;
  /** Claims up to so much more memory. Never takes what is in use. */
  claimMemory(unit: Unit, bytes: number): Promise<MemoryClaim>;
  /** Gives back at once, without asking the guest; returns when QEMU has deflated. */
  releaseMemory(unit: Unit, bytes: number): Promise<void>;
  /** The host group's quota: what all of QEMU may take. */
  setCpu(unit: Unit, millicores: number | null): Promise<void>;
  /** Both directions, on the tap and inside; null: no limit. */
  setBandwidth(unit: Unit, bytesPerSecond: number | null): Promise<void>;
  /** What the guest's instances may have of the scratch disk. */
  setStorage(unit: Unit, usableBytes: number): Promise<{ usableBytes: number; trimmedBytes: number }>;
  /** Moves QEMU into a group of its own in another place, such as `tenants/TENANT/UNIT`. The old group goes. */
  moveToGroup(unit: Unit, group: GroupPath): Promise<void>;
  /**
   * Puts the unit to rest: its state goes to a file and its process ends, so that it costs disk alone. Its watchers are told
   * that it is lost; `adopt` with the answered handle runs it again as it was. When it fails the unit goes on.
   * @param carriedPackets what it is to have carried when it stands still, and no more; undefined: whatever
   * @throws BellowsError Conflict when it has carried more
   */
  snapshot(unit: Unit, carriedPackets?: number): Promise<UnitHandle>;
  /**
   * Has the unit go on in a second machine: another process in a group of its own, with the same name, addresses and disk.
   * Watchers are told that the first is lost; connections stay. For a moment the host holds its memory twice. When it
   * fails the unit goes on in the first. @throws BellowsError NotSupportedHere, NoRoom, StartFailed, Unavailable
   */
  move(unit: Unit): Promise<{ readonly unit: VmUnit } & MoveReport>;
  /** The host's own figures. `state` and `tenant` are the fleet's to say. */
  measure(unit: Unit): Omit<UnitMeasure, 'state' | 'tenant'>;
  /** Takes the bridge away when no unit is left; units that run stay as they are. */
  close(): Promise<void>;
}
