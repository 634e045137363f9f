// Where things are inside a virtual machine: what the image's builder lays out and the agent in it relies on.
// Owns names only.

/** Bellows' data directory in a guest: the scratch disk's file system. */
export const guestDataDirectory = '/var/lib/bellows';
/** The runtime's files as sandboxes see them, made with the image: nothing is stripped of its types in a guest. */
export const guestRuntimeDirectory = '/opt/bellows/runtime';
/** The one group below the guest's cgroup mount that is Bellows'. The agent itself stays outside of it. */
export const guestCgroupRoot = 'bellows';
/** Where the kernel shows serial ports by their names. */
export const serialPortsDirectory = '/dev/virtio-ports';
/** Lives in memory: a new agent in the same boot finds who it is, a clone of the template does not. */
export const identityFile = '/run/bellows-identity.json';
