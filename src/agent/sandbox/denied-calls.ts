// System calls that code in a sandbox has no honest use for: each widens what a hole in the kernel would give.
// Owns the list and the numbers per machine. How they are refused is seccomp.ts.

export type Machine = 'x64' | 'arm64';

/** Name, number on x86_64, number on aarch64; null where the machine has no such call. */
type DeniedCall = readonly [name: string, x64: number, arm64: number | null];

export const deniedCalls: readonly DeniedCall[] = [
  // Mounts and roots: the sandbox's file system is what it was started with.
  ['mount', 165, 40],
  ['umount2', 166, 39],
  ['pivot_root', 155, 41],
  ['chroot', 161, 51],
  ['setns', 308, 268],
  ['open_tree', 428, 428],
  ['move_mount', 429, 429],
  ['fsopen', 430, 430],
  ['fsconfig', 431, 431],
  ['fsmount', 432, 432],
  ['fspick', 433, 433],
  ['mount_setattr', 442, 442],
  ['statmount', 457, 457],
  ['listmount', 458, 458],
  ['open_tree_attr', 467, 467],
  ['open_by_handle_at', 304, 265],
  ['name_to_handle_at', 303, 264],
  ['quotactl', 179, 60],
  ['quotactl_fd', 443, 443],
  ['fanotify_init', 300, 262],
  ['fanotify_mark', 301, 263],
  ['swapon', 167, 224],
  ['swapoff', 168, 225],
  ['acct', 163, 89],
  // Looking into other processes.
  ['ptrace', 101, 117],
  ['process_vm_readv', 310, 270],
  ['process_vm_writev', 311, 271],
  ['process_madvise', 440, 440],
  ['pidfd_getfd', 438, 438],
  ['kcmp', 312, 272],
  ['perf_event_open', 298, 241],
  // Large, young or rarely used parts of the kernel, where most escapes of recent years began.
  ['bpf', 321, 280],
  ['userfaultfd', 323, 282],
  ['io_uring_setup', 425, 425],
  ['io_uring_enter', 426, 426],
  ['io_uring_register', 427, 427],
  ['keyctl', 250, 219],
  ['add_key', 248, 217],
  ['request_key', 249, 218],
  ['lsm_set_self_attr', 460, 460],
  // Memory that could not be reclaimed, and placement on nodes, which is the host's to decide.
  ['memfd_secret', 447, 447],
  ['move_pages', 279, 239],
  ['mbind', 237, 235],
  ['migrate_pages', 256, 238],
  ['set_mempolicy_home_node', 450, 450],
  // The machine itself.
  ['kexec_load', 246, 104],
  ['kexec_file_load', 320, 294],
  ['init_module', 175, 105],
  ['finit_module', 313, 273],
  ['delete_module', 176, 106],
  ['reboot', 169, 142],
  ['settimeofday', 164, 170],
  ['clock_settime', 227, 112],
  ['adjtimex', 159, 171],
  ['clock_adjtime', 305, 266],
  ['syslog', 103, 116],
  ['sethostname', 170, 161],
  ['setdomainname', 171, 162],
  ['vhangup', 153, 58],
  ['iopl', 172, null],
  ['ioperm', 173, null],
  ['modify_ldt', 154, null],
  // Long obsolete.
  ['create_module', 174, null],
  ['get_kernel_syms', 177, null],
  ['query_module', 178, null],
  ['lookup_dcookie', 212, 18],
  ['uselib', 134, null],
  ['ustat', 136, null],
  ['sysfs', 139, null],
  ['_sysctl', 156, null],
  ['nfsservctl', 180, 42],
];

/** Numbers of the denied calls on a machine, ascending. */
export function deniedNumbers(machine: Machine): number[] {
  const column = machine === 'x64' ? 1 : 2;
  return deniedCalls
    .map((call) => call[column])
    .filter((number) => number !== null)
    .sort((a, b) => a - b);
}
