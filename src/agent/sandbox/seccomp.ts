// The system call filter of every sandbox, as the BPF program that `bwrap --seccomp` loads. Pure.
// Owns how calls are refused. Which calls is denied-calls.ts. A denied call fails as if rights were missing, so that
// programs that only try go on.
//
//   wrong machine ─▶ kill │ clone3, clone, unshare, ioctl, personality ─▶ by argument │ rest ─▶ binary search of the list
import { deniedNumbers, type Machine } from './denied-calls.ts';

/** One struct sock_filter: code, jump if true, jump if false, constant. */
type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, constant: number];

// Codes of classic BPF (linux/bpf_common.h).
const load = 0x20;
const ifEqual = 0x15;
const ifAtLeast = 0x35;
const ifAnyBit = 0x45;
const finish = 0x06;

// What a filter returns (linux/seccomp.h).
const kill: Instruction = [finish, 0, 0, 0x8000_0000];
const allow: Instruction = [finish, 0, 0, 0x7fff_0000];
const refuse = (errno: number): Instruction => [finish, 0, 0, 0x0005_0000 | errno];
const EPERM = 1;
const ENOSYS = 38;

// Offsets in struct seccomp_data; arguments are 64 bits, little endian: this is their lower half.
const numberAt = 0;
const machineAt = 4;
const argumentAt = (index: number): number => 16 + 8 * index;

/** Calls with x32 numbers come in as x86_64 but mean something else. */
const x32Bit = 0x4000_0000;
/** CLONE_NEWUSER, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET. */
const newNamespaces = 0x7e02_0000;
/** CLONE_NEWTIME; in clone's flags this bit belongs to the exit signal. */
const newTimeNamespace = 0x80;
/** Put input into a terminal, or its screen: a way out through the terminal that someone started Bellows in. */
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
/** personality(): set the default, or only ask. Others switch off address randomisation and the like. */
const allowedPersonalities = [0, 0xffff_ffff];

interface MachineNumbers {
  readonly audit: number;
  readonly clone: number;
  readonly clone3: number;
  readonly unshare: number;
  readonly ioctl: number;
  readonly personality: number;
}

const machines: Readonly<Record<Machine, MachineNumbers>> = {
  x64: { audit: 0xc000_003e, clone: 56, clone3: 435, unshare: 272, ioctl: 16, personality: 135 },
  arm64: { audit: 0xc000_00b7, clone: 220, clone3: 435, unshare: 97, ioctl: 29, personality: 92 },
};

export function seccompProgram(machine: Machine): Buffer {
  const numbers = machines[machine];
  const program: Instruction[] = [
    [load, 0, 0, machineAt],
    [ifEqual, 1, 0, numbers.audit],
    kill,
    [load, 0, 0, numberAt],
    ...(machine === 'x64' ? ([[ifAtLeast, 0, 1, x32Bit], kill] as const) : []),
    // Its arguments lie in memory, where a filter can not look: as if the kernel were older, and libc takes clone.
    ...forCall(numbers.clone3, [refuse(ENOSYS)]),
    ...forCall(numbers.clone, [
      [load, 0, 0, argumentAt(0)],
      [ifAnyBit, 0, 1, newNamespaces],
      refuse(EPERM),
      allow,
    ]),
    ...forCall(numbers.unshare, [
      [load, 0, 0, argumentAt(0)],
      [ifAnyBit, 0, 1, newNamespaces | newTimeNamespace],
      refuse(EPERM),
      allow,
    ]),
    // The kernel looks at the lower 32 bits only, and so does this.
    ...forCall(numbers.ioctl, unlessOneOf(argumentAt(1), [TIOCSTI, TIOCLINUX], allow, refuse(EPERM))),
    ...forCall(numbers.personality, unlessOneOf(argumentAt(0), allowedPersonalities, refuse(EPERM), allow)),
    ...search(deniedNumbers(machine)),
  ];
  return encode(program);
}

/** `body` for one call, the rest for others. Every path of `body` ends the program, since it may load something else. */
function forCall(number: number, body: readonly Instruction[]): Instruction[] {
  return [[ifEqual, 0, body.length, number], ...body];
}

function unlessOneOf(
  at: number,
  values: readonly number[],
  other: Instruction,
  match: Instruction,
): Instruction[] {
  return [
    [load, 0, 0, at],
    ...values.map((value, index): Instruction => [ifEqual, values.length - index, 0, value]),
    other,
    match,
  ];
}

/** A binary search: 7 comparisons instead of 70 for each of the program's calls that is allowed. */
function search(numbers: readonly number[]): Instruction[] {
  if (numbers.length <= 3) return unlessOneOf(numberAt, numbers, allow, refuse(EPERM)).slice(1);
  const middle = numbers.length >> 1;
  const lower = search(numbers.slice(0, middle));
  const upper = search(numbers.slice(middle));
  return [[ifAtLeast, lower.length, 0, numbers[middle] ?? 0], ...lower, ...upper];
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(([code, ifTrue, ifFalse, constant], index) => {
    bytes.writeUInt16LE(code, index * 8);
    // Throws when a jump is longer than the 255 that fit.
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(constant >>> 0, index * 8 + 4);
  });
  return bytes;
}
