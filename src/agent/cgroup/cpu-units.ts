// CPU time as the kernel's CFS bandwidth control takes it: microseconds of quota in each period. Pure.

/** The kernel's default, and what keeps the quota of the least grant (10m) at the kernel's minimum of 1 ms. */
export const cpuPeriodMicros = 100_000;
const microsPerMillicore = cpuPeriodMicros / 1000;
const minQuotaMicros = 1000;

export function quotaMicros(millicores: number): number {
  return Math.max(minQuotaMicros, Math.round(millicores * microsPerMillicore));
}

/** @param periodMicros as the kernel's file says: someone else may have chosen another one. */
export function millicoresOf(quota: number, periodMicros: number): number {
  return Math.round((quota / periodMicros) * 1000);
}

/** v1's cpu.shares for a v2 weight: 1024 is what 100 is; the kernel takes 2 to 262,144. */
export function sharesOf(weight: number): number {
  return Math.min(262_144, Math.max(2, Math.round((weight * 1024) / 100)));
}

/** v2's cpu.weight takes whole numbers from 1 to 10,000. */
export function clampWeight(weight: number): number {
  return Math.min(10_000, Math.max(1, Math.round(weight)));
}
