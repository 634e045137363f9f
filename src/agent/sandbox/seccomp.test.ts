import { describe, expect, test } from 'vitest';
import { deniedCalls, deniedNumbers, type Machine } from './denied-calls.ts';
import { seccompProgram } from './seccomp.ts';

const allowed = 0x7fff_0000;
const killed = 0x8000_0000;
const refused = 0x0005_0001;
const unknownCall = 0x0005_0026;
const auditOf = { x64: 0xc000_003e, arm64: 0xc000_00b7 } as const;

/** Runs a filter as the kernel does, on struct seccomp_data. */
function run(program: Buffer, machine: number, call: number, ...args: number[]): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call, 0);
  data.writeUInt32LE(machine, 4);
  args.forEach((value, index) => data.writeUInt32LE(value >>> 0, 16 + 8 * index));
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const code = program.readUInt16LE(at);
    const constant = program.readUInt32LE(at + 4);
    const jump = (taken: boolean): void => void (at += 8 * program.readUInt8(at + (taken ? 2 : 3)));
    if (code === 0x20) accumulator = data.readUInt32LE(constant);
    else if (code === 0x15) jump(accumulator === constant);
    else if (code === 0x35) jump(accumulator >= constant);
    else if (code === 0x45) jump((accumulator & constant) !== 0);
    else if (code === 0x06) return constant;
    else throw new Error(`unknown code ${code}`);
  }
  throw new Error('the program ran out');
}

describe.each(['x64', 'arm64'] as const)('the filter for %s', (machine: Machine) => {
  const program = seccompProgram(machine);
  const call = (number: number, ...args: number[]): number => run(program, auditOf[machine], number, ...args);

  test('refuses every listed call and allows every other', () => {
    const denied = new Set(deniedNumbers(machine));
    const special = machine === 'x64' ? [435, 56, 272, 16, 135] : [435, 220, 97, 29, 92];
    for (let number = 0; number < 600; number += 1) {
      if (special.includes(number)) continue;
      expect([number, call(number)]).toEqual([number, denied.has(number) ? refused : allowed]);
    }
  });

  test('kills what speaks for another machine', () => {
    expect(run(program, machine === 'x64' ? auditOf.arm64 : auditOf.x64, 0)).toBe(killed);
    expect(run(program, 0x4000_0003, 0)).toBe(killed);
    if (machine === 'x64') expect(call(0x4000_0000 + 165)).toBe(killed);
  });

  test('lets threads and processes be made, but no namespaces', () => {
    const [clone, unshare] = machine === 'x64' ? [56, 272] : [220, 97];
    expect(call(435)).toBe(unknownCall);
    expect(call(clone, 0x3d_0f00)).toBe(allowed);
    expect(call(clone, 0x1200011)).toBe(allowed);
    for (const flag of [
      0x1000_0000, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x2000_0000, 0x4000_0000,
    ]) {
      expect([flag, call(clone, flag | 17), call(unshare, flag)]).toEqual([flag, refused, refused]);
    }
    expect(call(unshare, 0x80)).toBe(refused);
    expect(call(unshare, 0x400)).toBe(allowed);
  });

  test('lets terminals be used, but nothing be typed into them', () => {
    const ioctl = machine === 'x64' ? 16 : 29;
    expect(call(ioctl, 0, 0x5401)).toBe(allowed);
    expect(call(ioctl, 0, 0x5412)).toBe(refused);
    expect(call(ioctl, 0, 0x541c)).toBe(refused);
  });

  test('keeps address randomisation on', () => {
    const personality = machine === 'x64' ? 135 : 92;
    expect(call(personality, 0)).toBe(allowed);
    expect(call(personality, 0xffff_ffff)).toBe(allowed);
    expect(call(personality, 0x40000)).toBe(refused);
  });
});

test('no call is listed twice', () => {
  for (const machine of ['x64', 'arm64'] as const) {
    const numbers = deniedNumbers(machine);
    expect(new Set(numbers).size).toBe(numbers.length);
  }
  expect(new Set(deniedCalls.map(([name]) => name)).size).toBe(deniedCalls.length);
});
