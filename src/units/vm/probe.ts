// Which accelerator works here, found by running tiny guests with a deadline: a /dev/kvm that is there, and even makes a
// machine, may have guests that never get anywhere. Owns the guests, the verdict, and remembering it for as long as the
// machine is not booted anew.
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomicSync } from '../../sys/atomic-file.ts';
import type { Accelerator } from './accelerator.ts';
import { bootId, qemuVersionOf } from './host.ts';

const verdict = z.object({
  bootId: z.string(),
  qemuVersion: z.string(),
  /** Whether a whole kernel was tried, or a few instructions alone. */
  kernel: z.boolean(),
  accelerator: z.object({ kind: z.enum(['kvm', 'tcg']), why: z.string() }),
});

export interface ProbeOptions {
  readonly qemu?: string;
  /** A kernel that is to get to its end without a root; without one only a few instructions are run. */
  readonly kernel?: string;
  /** Where the verdict is kept. */
  readonly cacheFile?: string;
}

/** A guest of three instructions takes 0.1 s with all of QEMU's start, a kernel without a root under KVM one second. */
const romTimeoutMs = 5_000;
const kernelTimeoutMs = 15_000;

/** What the guest says through QEMU's debug device, and what QEMU makes of it as its exit status. */
const saidByGuest = 0x10;
const exitStatus = (saidByGuest << 1) | 1;
const romBytes = 64 * 1024;
/** Where a processor begins. */
const resetVector = romBytes - 16;

/** @throws BellowsError NotSupportedHere when there is no QEMU. */
export async function probeAccelerator(options: ProbeOptions = {}): Promise<Accelerator> {
  const qemu = options.qemu ?? 'qemu-system-x86_64';
  const [boot, qemuVersion, kernel] = [bootId(), await qemuVersionOf(qemu), options.kernel !== undefined];
  const known = readVerdict(options.cacheFile);
  if (known?.bootId === boot && known.qemuVersion === qemuVersion && known.kernel === kernel)
    return known.accelerator;
  const why = await whyNotKvm(qemu, options.kernel);
  const accelerator: Accelerator =
    why === null ? { kind: 'kvm', why: 'a guest runs with it' } : { kind: 'tcg', why };
  if (options.cacheFile !== undefined)
    writeFileAtomicSync(
      options.cacheFile,
      JSON.stringify({ bootId: boot, qemuVersion, kernel, accelerator } satisfies z.infer<typeof verdict>),
    );
  return accelerator;
}

/** Null when it works. */
async function whyNotKvm(qemu: string, kernel: string | undefined): Promise<string | null> {
  if (!existsSync('/dev/kvm')) return 'there is no /dev/kvm';
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return '/dev/kvm may not be used by this user';
  }
  // As in arguments.ts: what works with another processor is no proof.
  const machine = ['-accel', 'kvm', '-cpu', 'host,migratable=on', '-machine', 'pc', '-m', '128'];
  const plain = ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'];
  const directory = mkdtempSync(join(tmpdir(), 'bellows-probe-'));
  try {
    const rom = join(directory, 'rom');
    writeFileSync(rom, probeRom());
    const debug = ['-bios', rom, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'];
    const first = await run(qemu, [...machine, ...plain, ...debug], romTimeoutMs);
    if (first !== exitStatus) return `/dev/kvm is there, but a guest of three instructions ${ended(first)}`;
    if (kernel === undefined) return null;
    // Without a root it panics, and with panic=-1 that is a reboot, which is the end.
    const boot = ['-kernel', kernel, '-append', 'panic=-1 quiet'];
    const second = await run(qemu, [...machine, ...plain, ...boot], kernelTimeoutMs);
    return second === 0 ? null : `/dev/kvm is there, but a kernel started with it ${ended(second)}`;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** `mov al, 0x10; out 0xf4, al; hlt`, where a processor begins. */
function probeRom(): Buffer {
  const rom = Buffer.alloc(romBytes);
  rom.set([0xb0, saidByGuest, 0xe6, 0xf4, 0xf4], resetVector);
  return rom;
}

type Ending = number | 'signal' | 'deadline';

const ended = (ending: Ending): string =>
  ending === 'deadline'
    ? 'makes no progress'
    : `ended QEMU with ${ending === 'signal' ? 'a signal' : String(ending)}`;

function run(qemu: string, args: readonly string[], timeoutMs: number): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const child = spawn(qemu, args, { stdio: 'ignore' });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      resolve(late ? 'deadline' : (code ?? 'signal'));
    });
  });
}

function readVerdict(path: string | undefined): z.infer<typeof verdict> | undefined {
  if (path === undefined) return undefined;
  try {
    return verdict.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    // None yet, or of another version.
    return undefined;
  }
}
