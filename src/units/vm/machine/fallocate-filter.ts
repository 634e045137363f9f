// A system call filter that answers fallocate(2) with "done" and lets everything else pass, as `bwrap --seccomp` takes it.
// QEMU gives a balloon's pages back by punching a hole into the file behind the memory and dropping its own copy. In a
// clone the file is the template, which every other clone still reads: only the copy may go. Pure.

const load = 0x20;
const ifEqual = 0x15;
const finish = 0x06;
const kill = 0x8000_0000;
const allow = 0x7fff_0000;
/** SECCOMP_RET_ERRNO with error 0: the call returns 0 and did nothing. */
const pretend = 0x0005_0000;

const machines = {
  x64: { audit: 0xc000_003e, fallocate: 285 },
  arm64: { audit: 0xc000_00b7, fallocate: 47 },
} as const;

export function fallocateFilter(machine: keyof typeof machines): Buffer {
  const { audit, fallocate } = machines[machine];
  const program = [
    [load, 0, 0, 4],
    [ifEqual, 1, 0, audit],
    [finish, 0, 0, kill],
    [load, 0, 0, 0],
    [ifEqual, 0, 1, fallocate],
    [finish, 0, 0, pretend],
    [finish, 0, 0, allow],
  ] as const;
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(([code, ifTrue, ifFalse, constant], index) => {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(constant, index * 8 + 4);
  });
  return bytes;
}
