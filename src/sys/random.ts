/**
 * Owns: giving randomness to the kernel's generator and to OpenSSL's in this process, for a machine that is a copy of
 * another: until then both would say the same random numbers.
 * Does not own: where the randomness is from.
 */
import { closeSync, openSync } from 'node:fs';
import { libc, SystemError } from './libc.ts';

// Of <linux/random.h>, the same on x86_64 and aarch64.
const RNDADDENTROPY = 0x4008_5203n;
const RNDRESEEDCRNG = 0x5207n;
/** struct rand_pool_info: an int of bits, an int of bytes, then the bytes. */
const poolInfoHeaderBytes = 8;

/** Credits the seed to the kernel's pool and has its generator begin anew from there. Needs CAP_SYS_ADMIN. */
export function seedKernel(seed: Buffer): void {
  const info = Buffer.alloc(poolInfoHeaderBytes + seed.length);
  info.writeInt32LE(seed.length * 8, 0);
  info.writeInt32LE(seed.length, 4);
  seed.copy(info, poolInfoHeaderBytes);
  const { call, addressOf, errno } = libc();
  const fd = openSync('/dev/urandom', 'r+');
  try {
    if (call.ioctl(fd, RNDADDENTROPY, addressOf(info)) !== 0)
      throw new SystemError('ioctl', errno(), 'RNDADDENTROPY');
    if (call.ioctl(fd, RNDRESEEDCRNG, null) !== 0) throw new SystemError('ioctl', errno(), 'RNDRESEEDCRNG');
  } finally {
    closeSync(fd);
    info.fill(0);
  }
}

/**
 * Has this process's OpenSSL begin anew: it takes from the kernel, mixed with the seed. `RAND_add` and not `RAND_poll`,
 * which in OpenSSL 3 does nothing for its own generator. The generators of threads follow when they are used next.
 */
export function seedOpenSsl(seed: Buffer): void {
  openSsl ??= bindOpenSsl();
  openSsl.RAND_add(libc().addressOf(seed), seed.length, seed.length);
}

let openSsl: ReturnType<typeof bindOpenSsl> | undefined;

/** The node program has OpenSSL in it, and exports it for addons. */
function bindOpenSsl() {
  const { functions } = process.getBuiltinModule('node:ffi').dlopen(null, {
    RAND_add: { arguments: ['pointer', 'int32', 'double'], return: 'void' },
  } as const);
  return functions;
}
