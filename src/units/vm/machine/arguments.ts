// QEMU's command line for one virtual machine. Pure. A clone's devices must be the template's, in the same order: their
// state is put into them. So what differs between the two (memory, how it begins) stands apart from what does not.
import { mib } from '../../../base/quantity.ts';
import { guestPortName } from '../../../protocol/guest.ts';
import { threadsOfTranslation, type Accelerator } from '../accelerator.ts';

/** Names of QEMU's objects that others refer to. */
export const qemuNames = {
  console: 'console',
  agentPort: 'agent',
  userNetwork: 'out',
  network: 'net',
} as const;

/** Names in the machine's run directory, as short as can be: a Unix socket's path has at most 107 bytes. */
export const socketNames = { monitor: 'q', agent: 's' } as const;

/** The last of the console is enough to say why a guest did not start; it is QEMU's memory. A power of two. */
export const consoleBytes = 32 * 1024;

/** Translated code: a guest with Node warms some 20 MiB of it; QEMU's own default is a quarter of the guest's memory. */
const translationMib = 64;

export type MachineMemory =
  /** The machine's own. */
  | { readonly kind: 'private' }
  /** A template's, written by this machine: descriptor of the file. */
  | { readonly kind: 'template'; readonly fd: number }
  /** A template's, of which this machine writes to copies of its own. */
  | { readonly kind: 'clone'; readonly fd: number };

export type MachineNetwork =
  /** A port of Bellows' bridge, by QEMU's number of it, and user networking for what goes out. */
  | { readonly kind: 'tap'; readonly fd: number }
  /** User networking for both. */
  | { readonly kind: 'user' };

export interface MachineArguments {
  readonly qemu: string;
  readonly qemuVersion: string;
  /** Shows in the process list, and tells the machines of one Bellows from another's. */
  readonly name: string;
  readonly accelerator: Accelerator['kind'];
  readonly cpus: number;
  readonly ramBytes: number;
  readonly memory: MachineMemory;
  /** Begins with the state of another, that it is given afterwards. */
  readonly incoming: boolean;
  readonly image: {
    readonly kernel: string;
    readonly initrd: string;
    readonly root: string;
    readonly commandLine: string;
  };
  /** A block device, or a file. */
  readonly scratch: { readonly kind: 'device' | 'file'; readonly path: string };
  readonly network: MachineNetwork;
  readonly mac: string;
  readonly outMac: string;
  /** As QEMU sees it. */
  readonly runDirectory: string;
}

export function machineArguments(options: MachineArguments): string[] {
  const { image, network, scratch, runDirectory } = options;
  return [
    [options.qemu, '-name', `guest=${options.name}`],
    ['-nodefaults', '-no-user-config', '-display', 'none'],
    ['-machine', 'pc,memory-backend=ram,vmport=off,usb=off,graphics=off'],
    acceleration(options),
    ['-smp', `cpus=${options.cpus}`, '-m', `${options.ramBytes / mib}M`],
    ['-object', memoryObject(options.memory, options.ramBytes)],
    // Paused, so that whoever looks next still finds the console and the reason.
    ['-action', 'panic=pause,reboot=shutdown,shutdown=pause'],
    ['-qmp', `unix:${runDirectory}/${socketNames.monitor},server=on,wait=off`],
    ['-chardev', `ringbuf,id=${qemuNames.console},size=${consoleBytes}`],
    ['-serial', `chardev:${qemuNames.console}`],
    ['-kernel', image.kernel, '-append', image.commandLine],
    // See kernel-head.ts: what never boots needs none.
    options.incoming ? [] : ['-initrd', image.initrd],
    // Shared by all machines: never written, and so never locked.
    [
      '-blockdev',
      `driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=${escaped(image.root)},file.locking=off`,
      '-device',
      'virtio-blk-pci,drive=root',
    ],
    // Flushing is for a machine that comes back after a loss of power, which none does.
    [
      '-blockdev',
      `driver=raw,node-name=scratch,discard=unmap,cache.direct=${scratch.kind === 'device' ? 'on' : 'off'},cache.no-flush=on,` +
        `file.driver=${scratch.kind === 'device' ? 'host_device' : 'file'},file.filename=${escaped(scratch.path)}`,
      '-device',
      'virtio-blk-pci,drive=scratch,discard=on',
    ],
    ['-device', 'virtio-serial-pci'],
    [
      '-chardev',
      `socket,id=${qemuNames.agentPort},path=${runDirectory}/${socketNames.agent},server=on,wait=off`,
      '-device',
      `virtserialport,chardev=${qemuNames.agentPort},id=${qemuNames.agentPort},name=${guestPortName}`,
    ],
    ['-device', 'virtio-balloon-pci,deflate-on-oom=on,free-page-reporting=on'],
    ['-device', 'virtio-rng-pci', '-device', 'vmgenid'],
    networkDevices(network, options),
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // It does not run by itself: who gave it its state says when.
    options.incoming ? ['-incoming', 'defer', '-S'] : [],
  ].flat();
}

function acceleration({ accelerator, qemuVersion }: MachineArguments): string[] {
  if (accelerator === 'kvm') return ['-accel', 'kvm', '-cpu', 'host,migratable=on'];
  const thread = threadsOfTranslation(qemuVersion);
  return ['-accel', `tcg,thread=${thread},tb-size=${translationMib}`, '-cpu', 'max'];
}

function memoryObject(memory: MachineMemory, bytes: number): string {
  if (memory.kind === 'private') return `memory-backend-ram,id=ram,size=${bytes}`;
  const share = memory.kind === 'template' ? 'on' : 'off';
  return `memory-backend-file,id=ram,size=${bytes},mem-path=/proc/self/fd/${memory.fd},share=${share}`;
}

function networkDevices(network: MachineNetwork, { mac, outMac }: MachineArguments): string[] {
  const user = (id: string): string => `user,id=${id},ipv6=off`;
  // No boot ROM: nothing boots over the network.
  const device = (id: string, address: string): string[] => [
    '-device',
    `virtio-net-pci,netdev=${id},mac=${address},romfile=`,
  ];
  const { network: door, userNetwork: out } = qemuNames;
  if (network.kind === 'user') return ['-netdev', user(door), ...device(door, mac)];
  return [
    ...['-netdev', `tap,id=${door},fd=${network.fd}`, ...device(door, mac)],
    ...['-netdev', user(out), ...device(out, outMac)],
  ];
}

/** In QEMU's lists of options a comma stands for itself when it is doubled. */
function escaped(path: string): string {
  return path.replaceAll(',', ',,');
}
