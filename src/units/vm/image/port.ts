// What a guest is started from: the files of an image, and what must be known of it. Owns the shape only.

/** Paths are absolute. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
  /** The read-only root file system, shared by all units. */
  readonly root: string;
  readonly commandLine: string;
  /** Of everything above: units of one hash are alike. */
  readonly hash: string;
  /** What the kernel and the agent take of a guest's memory, on top of what is provisioned. */
  readonly overheadBytes: number;
}
