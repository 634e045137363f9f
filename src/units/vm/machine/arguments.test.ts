import { describe, expect, test } from 'vitest';
import { mib } from '../../../base/quantity.ts';
import { fallocateFilter } from './fallocate-filter.ts';
import { machineArguments, type MachineArguments } from './arguments.ts';
import { sandboxed, type SandboxPaths } from './sandbox.ts';

const machine: MachineArguments = {
  qemu: 'qemu-system-x86_64',
  qemuVersion: '7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)',
  name: 'bellows-abcdef-u-1',
  accelerator: 'tcg',
  cpus: 2,
  ramBytes: 1184 * mib,
  memory: { kind: 'private' },
  incoming: false,
  image: { kernel: '/image/kernel', initrd: '/image/initrd', root: '/image/root', commandLine: 'quiet' },
  scratch: { kind: 'device', path: '/dev/loop7' },
  network: { kind: 'tap', fd: 8 },
  mac: '02:ab:cd:ef:00:01',
  outMac: '06:ab:cd:ef:00:01',
  runDirectory: '/run/unit',
};

/** The values of an option, in their order. */
const valuesOf = (argv: readonly string[], option: string): string[] =>
  argv.flatMap((text, index) => (argv[index - 1] === option ? [text] : []));

describe('QEMU’s command line', () => {
  test('a clone has its template’s devices, in the same order, and nothing else in common is missing', () => {
    const template = machineArguments({ ...machine, memory: { kind: 'template', fd: 6 } });
    const clone = machineArguments({
      ...machine,
      name: 'bellows-abcdef-u-2',
      mac: '02:ab:cd:ef:00:02',
      memory: { kind: 'clone', fd: 6 },
      incoming: true,
      network: { kind: 'tap', fd: 9 },
    });
    const devices = (argv: readonly string[]): string[] =>
      valuesOf(argv, '-device').map((text) => text.replace(/mac=[^,]*/, 'mac'));
    expect(devices(clone)).toEqual(devices(template));
    for (const option of ['-machine', '-smp', '-m', '-accel', '-cpu', '-kernel', '-append'])
      expect(valuesOf(clone, option)).toEqual(valuesOf(template, option));
    // It never boots.
    expect(valuesOf(clone, '-initrd')).toEqual([]);
    expect(valuesOf(clone, '-incoming')).toEqual(['defer']);
    expect(valuesOf(template, '-incoming')).toEqual([]);
  });

  test('only the template writes to its memory', () => {
    const memoryOf = (memory: MachineArguments['memory']): string | undefined =>
      valuesOf(machineArguments({ ...machine, memory }), '-object')[0];
    expect(memoryOf({ kind: 'template', fd: 6 })).toMatch(/mem-path=\/proc\/self\/fd\/6,share=on/);
    expect(memoryOf({ kind: 'clone', fd: 6 })).toMatch(/mem-path=\/proc\/self\/fd\/6,share=off/);
    expect(memoryOf({ kind: 'private' })).toBe(`memory-backend-ram,id=ram,size=${1184 * mib}`);
  });

  test('QEMU may start no program and gain no rights, and what the guest is given may not be written', () => {
    const argv = machineArguments(machine);
    expect(valuesOf(argv, '-sandbox')).toEqual([
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    ]);
    expect(valuesOf(argv, '-blockdev').find((text) => text.includes('node-name=root'))).toMatch(
      /read-only=on/,
    );
  });

  test('without a tap there is one network device, and its port is forwarded by QEMU', () => {
    const argv = machineArguments({ ...machine, network: { kind: 'user' } });
    expect(valuesOf(argv, '-netdev')).toEqual(['user,id=net,ipv6=off']);
  });

  test.each([
    ['7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)', 'single'],
    ['8.0.5', 'single'],
    ['8.1.0', 'multi'],
    ['10.0.2 (Debian 1:10.0.2+ds-2)', 'multi'],
    ['of a kind nobody knows', 'single'],
  ])('QEMU %s translates the code of several processors in threads: %s', (qemuVersion, thread) => {
    const [accelerator] = valuesOf(machineArguments({ ...machine, qemuVersion }), '-accel');
    expect(accelerator).toMatch(new RegExp(`^tcg,thread=${thread},`));
  });

  test('a comma in a path begins no other option', () => {
    const argv = machineArguments({ ...machine, scratch: { kind: 'file', path: '/data,read-only=on/x' } });
    expect(valuesOf(argv, '-blockdev').at(-1)).toMatch(/file\.filename=\/data,,read-only=on\/x$/);
  });
});

describe('what QEMU sees of the host', () => {
  const paths: SandboxPaths = {
    runDirectory: '/data/run/u/u-1',
    kernel: '/cache/kernel',
    initrd: '/cache/initrd',
    root: '/cache/root',
    scratch: { kind: 'device', path: '/dev/loop7' },
    kvm: false,
  };
  const fds = { info: 3, block: 4, seccomp: 5 };
  const around = (change: Partial<SandboxPaths> = {}): string =>
    sandboxed(
      ['qemu'],
      { ...paths, ...change },
      { kind: 'separate user', uid: 1_899_000_001, gid: null },
      fds,
    ).join(' ');

  test('as root: a user of its own, no capabilities, and only its own things can be written', () => {
    const line = around();
    expect(line).toMatch(
      /setpriv --reuid 1899000001 --regid 1899000001 --clear-groups --bounding-set=-all .* qemu$/,
    );
    expect(line).toContain('--unshare-pid --as-pid-1 --unshare-ipc');
    expect([...line.matchAll(/ --(?:dev-)?bind (\S+) /g)].map(([, path]) => path)).toEqual([
      '/dev/loop7',
      '/data/run/u/u-1',
    ]);
  });

  test('the machine’s devices are there only where they are used', () => {
    const line = around({
      kvm: true,
      scratch: { kind: 'file', path: '/data/x.ext4' },
    });
    expect(line).not.toMatch(/loop/);
    expect(line).toContain('--dev-bind /dev/kvm /dev/kvm');
    expect(line).toContain('--bind /data/x.ext4 /scratch');
  });

  test('a user’s own QEMU keeps that user', () => {
    const argv = sandboxed(['qemu'], paths, { kind: 'namespaces' }, { ...fds, seccomp: null });
    expect(argv).not.toContain('setpriv');
    expect(argv).not.toContain('--seccomp');
    expect(argv.slice(-2)).toEqual(['--', 'qemu']);
  });
});

describe('the filter of a clone’s system calls', () => {
  /** Runs the program as the kernel does, for the few instructions that there are. */
  function verdict(filter: Buffer, audit: number, call: number): number {
    const data = new Map([
      [0, call],
      [4, audit],
    ]);
    let [loaded, at] = [0, 0];
    for (;;) {
      const [code, ifTrue, ifFalse, k] = [
        filter.readUInt16LE(at * 8),
        filter.readUInt8(at * 8 + 2),
        filter.readUInt8(at * 8 + 3),
        filter.readUInt32LE(at * 8 + 4),
      ];
      if (code === 0x06) return k;
      if (code === 0x20) loaded = data.get(k) ?? 0;
      at += 1 + (code === 0x15 ? (loaded === k ? ifTrue : ifFalse) : 0);
    }
  }
  const [done, allowed, killed] = [0x0005_0000, 0x7fff_0000, 0x8000_0000];

  test.each([
    ['x64', 0xc000_003e, 285],
    ['arm64', 0xc000_00b7, 47],
  ] as const)(
    'on %s, fallocate is answered as done, and everything else passes',
    (name, audit, fallocate) => {
      const filter = fallocateFilter(name);
      expect(verdict(filter, audit, fallocate)).toBe(done);
      for (const call of [0, 1, fallocate - 1, fallocate + 1])
        expect(verdict(filter, audit, call)).toBe(allowed);
      expect(verdict(filter, 0x4000_0003, fallocate)).toBe(killed);
    },
  );
});
