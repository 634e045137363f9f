// What QEMU runs a guest with, and what is known of it.

/** `kvm`: the processor's own virtualisation. `tcg`: translated code, about ten times slower, and the same otherwise. */
export interface Accelerator {
  readonly kind: 'kvm' | 'tcg';
  /** Why it is this one, for a person. */
  readonly why: string;
}
