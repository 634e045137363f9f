// V8's ceiling for its heap, lowered while the process runs. Owns how V8 is told. Does not own the figure (governor.ts).
//
// Flags set the ceiling at start only, but V8's C++ interface moves it, and Node exports that for native add-ons:
//   RemoveNearHeapLimitCallback   lowers it to a figure, never below 1.25 times what the heap holds
//   AddNearHeapLimitCallback      is asked before V8 ends the process for lack of memory; answers with a new ceiling
// The callback is C's `labs`: handed the start's ceiling as its data, it answers with that. So a heap that really needs
// more than it should have gets it, after a few collections and until it is lowered again; what is too much remains the
// kernel's to say. There is no call that raises it, nor need of one: after a larger grant it is lifted the same way.
import type * as FfiModule from 'node:ffi';
import process from 'node:process';

/** The mangled names are alike on x86_64 and aarch64: `size_t` is `unsigned long` on both. */
const signatures = {
  _ZN2v87Isolate10GetCurrentEv: { arguments: [], return: 'pointer' },
  _ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_: {
    arguments: ['pointer', 'pointer', 'pointer'],
    return: 'void',
  },
  _ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm: {
    arguments: ['pointer', 'pointer', 'uint64'],
    return: 'void',
  },
  labs: { arguments: ['int64'], return: 'int64' },
} as const satisfies FfiModule.FunctionDefinitions;

/** Lowers the ceiling of V8's old generation, which is nearly all of the heap; a higher one than now changes nothing.
 * @param bytes a whole number */
export type LowerHeapCeiling = (bytes: number) => void;

/**
 * For the calling thread's heap. `undefined` where this Node does not offer it: then V8 keeps the ceiling of its start.
 * Costs 1 ms and 0.2 MB unless it was prepared; each call costs 1 µs.
 */
export function openHeapCeiling(): LowerHeapCeiling | undefined {
  const functions = (prepared ??= bound());
  if (functions === undefined) return undefined;
  const isolate = functions._ZN2v87Isolate10GetCurrentEv();
  const answerWithData = functions.labs.pointer;
  const startBytes = BigInt(process.getBuiltinModule('node:v8').getHeapStatistics().heap_size_limit);
  const addCallback = (): void =>
    functions._ZN2v87Isolate24AddNearHeapLimitCallbackEPFmPvmmES1_(isolate, answerWithData, startBytes);
  addCallback();
  return (bytes) => {
    functions._ZN2v87Isolate27RemoveNearHeapLimitCallbackEPFmPvmmEm(isolate, answerWithData, BigInt(bytes));
    addCallback();
  };
}

/** Does ahead what takes longest of {@link openHeapCeiling}. */
export function prepareHeapCeiling(): void {
  prepared ??= bound();
}

let prepared: ReturnType<typeof bound>;

function bound() {
  const ffi = process.getBuiltinModule('node:ffi') as typeof FfiModule | undefined;
  try {
    return ffi?.dlopen(null, signatures).functions;
  } catch {
    return undefined;
  }
}
