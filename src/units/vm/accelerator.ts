// What QEMU runs a guest with, and what is known of it.

/** `kvm`: the processor's own virtualisation. `tcg`: translated code, about ten times slower, and the same otherwise. */
export interface Accelerator {
  readonly kind: 'kvm' | 'tcg';
  /** Why it is this one, for a person. */
  readonly why: string;
}

/**
 * Whether a translated guest's processors may each have a thread of QEMU's. Before 8.1 QEMU translates a piece of code
 * without locking its page, so that a processor can keep a translation of what another has just replaced. Linux replaces its own
 * code while it runs, by way of a breakpoint: a processor that keeps that stands still for good. Seen at one boot in some
 * thirty with 7.2, when the guest's first group was made. One thread for all of a guest's processors can not do that.
 *
 * @param qemuVersion as QEMU says it: "7.2.22 (Debian ...)"
 */
export function threadsOfTranslation(qemuVersion: string): 'single' | 'multi' {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(qemuVersion) ?? [];
  const isFixed = Number(major) > 8 || (Number(major) === 8 && Number(minor) >= 1);
  return isFixed ? 'multi' : 'single';
}

/**
 * A guest's processors, for those that it is to be given. Translated in one thread they take turns on one processor of the
 * host: a second gives the guest nothing, and has its kernel lock and signal between the two. With one, a boot took 19 s of
 * the host's processor instead of 23, and a start of Node in a clone a tenth less.
 */
export function processorsOf(kind: Accelerator['kind'], qemuVersion: string, wanted: number): number {
  return kind === 'tcg' && threadsOfTranslation(qemuVersion) === 'single' ? 1 : wanted;
}
