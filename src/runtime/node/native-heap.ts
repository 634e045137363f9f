// Gives back what the C library keeps of memory that was freed: it returns only the end of its heap by itself, and one small
// piece in use keeps all that lies before it. Owns how it is asked. Does not own when (collector.ts).
import type * as FfiModule from 'node:ffi';
import process from 'node:process';

const signatures = {
  malloc_trim: { arguments: ['uint64'], return: 'int32' },
} as const satisfies FfiModule.FunctionDefinitions;

let release: (() => void) | undefined;

/**
 * Returns every whole page that is free, in all arenas. Measured: 1 to 8 ms, for 1.5 MiB after JSON, 6 MiB after images, 9 MiB
 * after PDFs. Does nothing with a C library that has no such call (musl, which returns pages as they become free).
 */
export function releaseNativeHeap(): void {
  release ??= bound();
  release();
}

function bound(): () => void {
  const ffi = process.getBuiltinModule('node:ffi') as typeof FfiModule | undefined;
  try {
    const functions = ffi?.dlopen(null, signatures).functions;
    return () => void functions?.malloc_trim(0n);
  } catch {
    return () => {};
  }
}
