// Names and addresses of everything that Bellows has in the machine's network for its units. Pure.
// One bridge a data directory; a unit's slot, a small number, gives its tap, its addresses and its user.
import { createHash } from 'node:crypto';
import { BellowsError } from '../../../base/errors.ts';

/** A slot's number is in an interface's name, an address and a user's number. More units than one machine runs. */
export const maxSlots = 4_000;
/** 4,094 addresses: the bridge's and a unit's for each slot. */
const prefixLength = 20;
/** QEMU's users: beside the tenants', in the range that systemd's documentation leaves to nobody. */
const firstUid = 1_899_000_000;
/** The kernel's limit for names of interfaces, 15, is kept: `bw` + 6 + `-` or `i` + 3 + `x`. */
const hashLength = 6;

/** Tells the things of one data directory from another's. */
export function directoryHash(dataDirectory: string): string {
  return createHash('sha256').update(dataDirectory).digest('hex').slice(0, hashLength);
}

export const bridgeName = (hash: string): string => `bw${hash}-br`;

/** Where a unit's machine is on the bridge: the other side is where it moves to. */
export interface NetworkPlace {
  readonly slot: number;
  readonly side: 'a' | 'b';
}

export const tapName = (hash: string, { slot, side }: NetworkPlace): string =>
  `bw${hash}-${hex(slot)}${sideMark[side]}`;
/** What the guest sends is shaped on a device of its own: a tap shapes only what is sent to it. */
export const shaperName = (hash: string, { slot, side }: NetworkPlace): string =>
  `bw${hash}i${hex(slot)}${sideMark[side]}`;

/** Undefined for what is no unit's. */
export function placeOfInterface(hash: string, name: string): NetworkPlace | undefined {
  const [, slot, mark] = /^[-i]([0-9a-f]{3})(x?)$/.exec(name.replace(`bw${hash}`, '')) ?? [];
  if (slot === undefined || !name.startsWith(`bw${hash}`)) return undefined;
  return { slot: Number.parseInt(slot, 16), side: mark === sideMark.b ? 'b' : 'a' };
}
export const uidOfSlot = (slot: number): number => firstUid + slot;

/** Locally administered. Units of one Bellows are behind one bridge and differ in the last bytes. */
export function macOf(hash: string, slot: number, device: 'door' | 'out'): string {
  const bytes = [device === 'door' ? 0x02 : 0x06, ...Buffer.from(hash, 'hex'), slot >> 8, slot & 0xff];
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export interface Subnet {
  /** The network's first address as a number. */
  readonly base: number;
  readonly prefixLength: number;
}

/** Reads `10.213.0.0/20`. @throws BellowsError BadRequest */
export function parseSubnet(text: string): Subnet {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(text);
  const numbers = match?.slice(1).map(Number) ?? [];
  const [a = 256, b = 256, c = 256, d = 256, length = 33] = numbers;
  const fits = [a, b, c, d].every((part) => part < 256) && length >= 8 && length <= prefixLength;
  const base = ((a * 256 + b) * 256 + c) * 256 + d;
  if (!fits || base % 2 ** (32 - length) !== 0)
    throw new BellowsError(
      'BadRequest',
      `${text} can not be the subnet of virtual machines.`,
      `Give the first address of a network of at most ${prefixLength} bits, such as 10.213.0.0/${prefixLength}.`,
    );
  return { base, prefixLength: length };
}

export const formatAddress = (address: number): string =>
  [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
export const formatSubnet = ({ base, prefixLength: length }: Subnet): string =>
  `${formatAddress(base)}/${length}`;
export const bridgeAddress = ({ base }: Subnet): string => formatAddress(base + 1);
export const unitAddress = ({ base }: Subnet, slot: number): string => formatAddress(base + 2 + slot);

/** `routes`: destinations as `ip route` shows them; `default` meets nothing, single addresses have no length. */
export function freeSubnet(hash: string, routes: readonly string[]): Subnet {
  const taken = routes.flatMap((route) => {
    const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?$/.exec(route);
    if (match === null) return [];
    const [a = 0, b = 0, c = 0, d = 0, length = 32] = match.slice(1).map((part) => Number(part ?? 32));
    return [{ base: ((a * 256 + b) * 256 + c) * 256 + d, prefixLength: length }];
  });
  // From 10.160 on: below, people's own networks and those of containers are.
  const [first, last] = [(10 * 256 + 160) * 256 * 256, ((10 * 256 + 255) * 256 + 255) * 256];
  const size = 2 ** (32 - prefixLength);
  const count = Math.floor((last - first) / size);
  // Two that start at once do not look for the same.
  const start = Number.parseInt(hash, 16) % count;
  for (let step = 0; step < count; step += 1) {
    const subnet = { base: first + ((start + step) % count) * size, prefixLength };
    if (!taken.some((other) => overlap(subnet, other))) return subnet;
  }
  throw new BellowsError(
    'NotSupportedHere',
    'No subnet is free for virtual machines.',
    'Choose one: --subnet.',
  );
}

function overlap(one: Subnet, other: Subnet): boolean {
  const size = 2 ** (32 - Math.min(one.prefixLength, other.prefixLength));
  return Math.floor(one.base / size) === Math.floor(other.base / size);
}

/** Not a digit of the slot's number. */
const sideMark = { a: '', b: 'x' } as const;
const hex = (slot: number): string => slot.toString(16).padStart(3, '0');
