// Quantities of the four resources: how they are written, read and shown. Pure.
// A string is in notation (`128MiB`, `0.5` or `500m`, `10MB/s`); a bare number is in the base unit
// (bytes, millicores, bytes per second). docs/SPECIFICATION.md promises that what comes out can be put back in.
import type { Brand } from './brand.ts';
import { BellowsError } from './errors.ts';
import { showInput } from './show.ts';

export type Bytes = Brand<number, 'bytes'>;
export type Millicores = Brand<number, 'millicores'>;
export type BytesPerSecond = Brand<number, 'bytes per second'>;

export const kib = 1024;
export const mib = 1024 * kib;
export const gib = 1024 * mib;

const byteUnits: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['B', 1],
  ['kB', 1e3],
  ['KB', 1e3],
  ['MB', 1e6],
  ['GB', 1e9],
  ['TB', 1e12],
  ['KiB', kib],
  ['MiB', mib],
  ['GiB', gib],
  ['TiB', 1024 * gib],
]);

/** 1 PiB: larger than any machine this runs on, and an exact integer. */
const maxBytes = 1024 * 1024 * gib;
/** A thousand CPUs: more than one machine has. */
const maxMillicores = 1_000_000;
/** The kernel's smallest CPU bandwidth quota is 1 ms in a period of at most 1 s; ours is 1 ms in 100 ms. */
export const minMillicores = 10 as Millicores;

/** 16 digits write the largest number of bytes; what they write above it is refused by its value. */
const decimal = /^(\d{1,16}(?:\.\d{1,9})?) ?([A-Za-z]{0,3})$/;

function invalid(what: string, input: unknown, why: string, hint: string): BellowsError {
  const message = `${showInput(input, 40)} is not a quantity of ${what}: ${why}.`;
  return new BellowsError('InvalidQuantity', message, hint);
}

function parseByteCount(what: string, input: unknown, hint: string): number {
  let count: number;
  if (typeof input === 'number') {
    count = input;
  } else if (typeof input === 'string') {
    const match = decimal.exec(input.trim());
    if (match === null) throw invalid(what, input, 'expected a non-negative number and a unit', hint);
    const factor = byteUnits.get(match[2] ?? '');
    if (factor === undefined) throw invalid(what, input, `the unit ${match[2]} is not known`, hint);
    count = Number(match[1]) * factor;
  } else {
    throw invalid(what, input, 'expected a string or a number', hint);
  }
  if (!Number.isFinite(count) || count < 0)
    throw invalid(what, input, 'it must be finite and not negative', hint);
  if (count > maxBytes) throw invalid(what, input, 'it is larger than any machine', hint);
  return Math.round(count);
}

/** Reads memory or storage: `128MiB`, `1GiB`, `1.5GB`, or bytes. @throws BellowsError InvalidQuantity */
export function parseBytes(input: unknown): Bytes {
  return parseByteCount('bytes', input, 'Write it like "128MiB", "1GiB" or 134217728.') as Bytes;
}

/** Reads bandwidth: `10MB/s`, `512KiB/s`, or bytes per second. @throws BellowsError InvalidQuantity */
export function parseBandwidth(input: unknown): BytesPerSecond {
  const hint = 'Write it like "10MB/s" or 10000000.';
  if (typeof input === 'string') {
    const text = input.trim();
    if (!text.endsWith('/s') && !/^\d+$/.test(text))
      throw invalid('bandwidth', input, 'expected a unit per second', hint);
    return parseByteCount('bandwidth', text.replace(/\/s$/, ''), hint) as BytesPerSecond;
  }
  return parseByteCount('bandwidth', input, hint) as BytesPerSecond;
}

/** Reads processor time: `0.5` or `2` (CPUs) and `500m` as strings, millicores as a number. @throws BellowsError InvalidQuantity */
export function parseCpu(input: unknown): Millicores {
  const hint = 'Write CPUs as a string like "0.5" or "2", millicores like "500m" or 500.';
  let millicores: number;
  if (typeof input === 'number') {
    millicores = input;
  } else if (typeof input === 'string') {
    const match = /^(\d{1,9}(?:\.\d{1,9})?)(m?)$/.exec(input.trim());
    if (match === null) throw invalid('CPU', input, 'expected CPUs or millicores', hint);
    millicores = Number(match[1]) * (match[2] === 'm' ? 1 : 1000);
  } else {
    throw invalid('CPU', input, 'expected a string or a number', hint);
  }
  if (!Number.isFinite(millicores) || millicores < 0)
    throw invalid('CPU', input, 'it must be finite and not negative', hint);
  if (millicores > maxMillicores) throw invalid('CPU', input, 'it is larger than any machine', hint);
  if (millicores < minMillicores) {
    throw invalid(
      'CPU',
      input,
      `it is ${millicores} millicores, and the least that can be enforced is ${minMillicores}m`,
      hint,
    );
  }
  return Math.round(millicores) as Millicores;
}

/** Writes bytes in the largest binary unit that shows them exactly; a bare number of bytes otherwise. */
export function formatBytes(bytes: number): string {
  if (bytes > 0) {
    if (bytes % gib === 0) return `${bytes / gib}GiB`;
    if (bytes % mib === 0) return `${bytes / mib}MiB`;
    if (bytes % kib === 0) return `${bytes / kib}KiB`;
  }
  return String(Math.round(bytes));
}

/** Writes processor time: whole CPUs as `2`, anything else as `500m`. */
export function formatCpu(millicores: number): string {
  return millicores > 0 && millicores % 1000 === 0 ? String(millicores / 1000) : `${Math.round(millicores)}m`;
}

/** Writes bandwidth in the largest decimal unit that shows it exactly. */
export function formatBandwidth(bytesPerSecond: number): string {
  if (bytesPerSecond > 0) {
    if (bytesPerSecond % 1e9 === 0) return `${bytesPerSecond / 1e9}GB/s`;
    if (bytesPerSecond % 1e6 === 0) return `${bytesPerSecond / 1e6}MB/s`;
    if (bytesPerSecond % 1e3 === 0) return `${bytesPerSecond / 1e3}kB/s`;
  }
  return `${Math.round(bytesPerSecond)}B/s`;
}

/** Bytes for a person's eye, rounded: `83.4 MiB`. Not meant to be read back. */
export function humanBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
