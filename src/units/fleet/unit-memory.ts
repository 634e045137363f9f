// Memory of one unit: what of it is claimed, and why it may not be. Owns releasing and claiming towards a target, claims on
// request, and the wait after an emergency. What the target is, and that one thing follows another, is unit.ts's.
//
//   granted ──reclaim──▶ what is free is claimed, too ──thawed, granted more──▶ granted
//      ▲                              │
//      └────── calm again ── all released ◀── memory is short, a balloon stalls (from anywhere)
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../sys/log.ts';
import type { VmDriver, VmUnit } from '../vm/port.ts';
import { Calm } from './calm.ts';
import { ClaimNotes, type ClaimNote } from './claim-notes.ts';
import type { FleetTuning } from './config.ts';
import type { GuestCalls } from './guest-calls.ts';

/**
 * `free`: claims only what nothing inside has, which takes nothing from what is about to start; `all`: also what has to be
 * freed first, clean page cache above all, that a start would have to read again: three times as slow when emulated.
 */
export type Thoroughness = 'free' | 'all';

/** Of the free memory, what is left to whoever allocates meanwhile. */
const freeMarginBytes = 16 * 1024 * 1024;

/** Claims that miss by less than this are complete: balloons come in pages, and the agent keeps some for itself. */
const negligibleBytes = 8 * 1024 * 1024;

export interface UnitMemoryParts {
  readonly driver: VmDriver;
  readonly vm: VmUnit;
  readonly guest: GuestCalls;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Pick<FleetTuning, 'calmFirstMs' | 'calmLongestMs'>;
  /** Its claim has moved far. */
  readonly onClaim: (note: ClaimNote) => void;
}

export class UnitMemory {
  readonly #parts: UnitMemoryParts;
  readonly #calm: Calm;
  readonly #notes: ClaimNotes;
  /** What the guest was last told that instances may have together; undefined when that is not known. */
  #toldUsableBytes: number | undefined;
  /** What a claim on request leaves to the instances, and what had been granted to them by then. */
  #reclaimed: { readonly leftBytes: number; readonly usableBytes: number } | undefined;
  /** What a claim under way goes to; 0 when none is. */
  #claimingTo = 0;

  constructor(parts: UnitMemoryParts) {
    this.#parts = parts;
    this.#calm = new Calm(parts.tuning);
    this.#notes = new ClaimNotes(parts.vm.claimed.memory);
  }

  /** For how long nothing is claimed, after an emergency; 0 when it may be. */
  get quietMs(): number {
    return this.#calm.quietMs(this.#parts.clock.monotonicMs());
  }

  /** Another agent is inside: nothing that it was told is known to hold. */
  forgetTold(): void {
    this.#toldUsableBytes = undefined;
  }

  /**
   * Brings the claim to what leaves `leftBytes` to the instances, or less after a claim on request. Answers how much could
   * not be claimed.
   * @param usableBytes what is granted to them: more than is left while they are at rest
   */
  async settle(usableBytes: number, leftBytes: number, thoroughness: Thoroughness): Promise<number> {
    const { driver, vm, guest } = this.#parts;
    // More was granted since.
    if (this.#reclaimed !== undefined && usableBytes > this.#reclaimed.usableBytes)
      this.#reclaimed = undefined;
    const left = Math.min(leftBytes, this.#reclaimed?.leftBytes ?? leftBytes);
    const target = this.quietMs > 0 ? 0 : vm.provisioned.memory - left;
    const over = vm.claimed.memory - target;
    if (over > 0) await driver.releaseMemory(vm, over);
    if (this.#toldUsableBytes !== usableBytes) {
      await guest.call('setUsable', { memoryBytes: usableBytes });
      this.#toldUsableBytes = usableBytes;
    }
    const shortBytes = await this.claimTo(target, thoroughness);
    this.#note(this.#notes.moved(vm.claimed.memory, this.#parts.clock.monotonicMs()));
    return shortBytes;
  }

  /** Answers how much could not be claimed. */
  async claimTo(targetBytes: number, thoroughness: Thoroughness): Promise<number> {
    const { vm, clock } = this.#parts;
    const missing = targetBytes - vm.claimed.memory;
    if (missing < negligibleBytes) return 0;
    const free = thoroughness === 'all' ? missing : (await this.#freeBytes()) - freeMarginBytes;
    const bytes = Math.min(missing, free);
    if (bytes < negligibleBytes) return missing;
    const { claimedBytes, stalled } = await this.#claim(bytes, targetBytes);
    this.#note(this.#notes.moved(vm.claimed.memory, clock.monotonicMs()));
    const short = targetBytes - claimedBytes;
    return stalled || short < negligibleBytes ? 0 : short;
  }

  /**
   * Claims what nothing inside has, but for `spareBytes`; it stays claimed until {@link giveBack}, a grant of more, or an
   * emergency. Answers by how much the claim grew.
   */
  async reclaim(usableBytes: number, spareBytes: number, why: string): Promise<number> {
    const { vm, clock } = this.#parts;
    // Memory was short a moment ago: what is free is needed.
    if (this.quietMs > 0) return 0;
    const before = vm.claimed.memory;
    const bytes = (await this.#freeBytes()) - spareBytes;
    if (bytes < negligibleBytes) return 0;
    // Whoever needs it back meanwhile must know of it.
    const asked = { leftBytes: vm.provisioned.memory - before - bytes, usableBytes };
    this.#reclaimed = asked;
    const { claimedBytes } = await this.#claim(bytes, before + bytes);
    if (this.#reclaimed === asked)
      this.#reclaimed = { leftBytes: vm.provisioned.memory - claimedBytes, usableBytes };
    const grownBytes = Math.max(0, vm.claimed.memory - before);
    this.#note(this.#notes.caused(before, vm.claimed.memory, why, clock.monotonicMs()));
    return grownBytes;
  }

  /** What was claimed beyond the grants, on request or at rest, at once; not in turn, for somebody waits. */
  async giveBack(usableBytes: number): Promise<void> {
    const { driver, vm } = this.#parts;
    this.#reclaimed = undefined;
    const over = vm.claimed.memory - (vm.provisioned.memory - usableBytes);
    if (over > 0) await driver.releaseMemory(vm, over);
  }

  /** Whether more is claimed, or being claimed, than the grants leave: for a claim on request. */
  get isReclaimed(): boolean {
    return this.#reclaimed !== undefined;
  }

  /** Everything that is claimed goes back at once, past whatever is under way. Nothing is claimed for {@link quietMs} then. */
  async releaseEverything(why: string): Promise<void> {
    const { driver, vm, log, clock } = this.#parts;
    const quietMs = this.#calm.disturbed(clock.monotonicMs());
    this.#reclaimed = undefined;
    const claimedBytes = vm.claimed.memory;
    log.warn(
      { unit: vm.handle.id, why, claimedBytes, quietMs },
      'memory is short in a unit: everything claimed of it was released',
    );
    if (claimedBytes > 0) await driver.releaseMemory(vm, claimedBytes);
    this.#note(this.#notes.caused(claimedBytes, vm.claimed.memory, why, clock.monotonicMs()));
  }

  /** A claim under way that would take what is needed now ends: who comes next in turn must not wait for it first. */
  cutClaim(usableBytes: number): void {
    const { driver, vm, log } = this.#parts;
    const neededBytes = vm.provisioned.memory - usableBytes;
    const isWanted = this.#reclaimed !== undefined && usableBytes <= this.#reclaimed.usableBytes;
    if (this.#claimingTo <= neededBytes + negligibleBytes || isWanted) return;
    driver
      .releaseMemory(vm, Math.max(0, vm.claimed.memory - neededBytes))
      .catch((thrown: unknown) =>
        log.warn({ err: thrown, unit: vm.handle.id }, 'a claim could not be ended'),
      );
  }

  async #claim(bytes: number, targetBytes: number): ReturnType<VmDriver['claimMemory']> {
    const { driver, vm } = this.#parts;
    this.#claimingTo = targetBytes;
    try {
      const claim = await driver.claimMemory(vm, bytes);
      if (claim.stalled) await this.releaseEverything('its balloon made no progress');
      return claim;
    } finally {
      this.#claimingTo = 0;
    }
  }

  async #freeBytes(): Promise<number> {
    const { freeBytes } = await this.#parts.guest.call('identify', {});
    return freeBytes;
  }

  #note(note: ClaimNote | undefined): void {
    if (note !== undefined) this.#parts.onClaim(note);
  }
}
