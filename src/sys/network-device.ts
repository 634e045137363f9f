/**
 * Owns: setting a network device's hardware address, IPv4 address and default route, as netdevice(7) describes it: some
 * system calls, where starting a program for each takes an emulated machine a quarter of a second.
 * Does not own: which device, and what for. Needs CAP_NET_ADMIN.
 */
import { closeSync } from 'node:fs';
import { libc, SystemError } from './libc.ts';

// Of <linux/sockios.h>, the same on x86_64 and aarch64, as are the structures below.
const SIOCADDRT = 0x890bn;
const SIOCGIFFLAGS = 0x8913n;
const SIOCSIFFLAGS = 0x8914n;
const SIOCSIFADDR = 0x8916n;
const SIOCSIFNETMASK = 0x891cn;
const SIOCSIFHWADDR = 0x8924n;
export const IFF_UP = 1;
const RTF_UP = 1;
const RTF_GATEWAY = 2;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const ARPHRD_ETHER = 1;
const EEXIST = 17;

/** struct ifreq: the name, then what the call is about. */
const nameBytes = 16;
const requestBytes = 40;
/** struct rtentry, and where its fields are. */
const routeBytes = 120;
const route = { destination: 8, gateway: 24, mask: 40, flags: 56, device: 88 } as const;

export interface DeviceAddress {
  /** `52:54:00:12:34:56`; absent: as it is. */
  readonly mac?: string;
  readonly address: string;
  readonly prefixLength: number;
}

/** Gives the device these addresses in place of what it had, and sets it up. @throws SystemError; TypeError for what is no address */
export function setDeviceAddress(device: string, { mac, address, prefixLength }: DeviceAddress): void {
  withSocket((ioctl) => {
    if (mac !== undefined) {
      setUp(ioctl, device, false);
      const request = requestFor(device);
      request.writeUInt16LE(ARPHRD_ETHER, nameBytes);
      macBytes(mac).copy(request, nameBytes + 2);
      ioctl(SIOCSIFHWADDR, request, `hardware address of ${device}`);
    }
    for (const [call, value] of [
      [SIOCSIFADDR, ipv4Bytes(address)],
      [SIOCSIFNETMASK, maskBytes(prefixLength)],
    ] as const) {
      const request = requestFor(device);
      writeAddress(request, nameBytes, value);
      ioctl(call, request, `address of ${device}`);
    }
    setUp(ioctl, device, true);
  });
}

/** Routes over it go, and IPv6 addresses; its IPv4 address stays, for when it is up again. @throws SystemError */
export function setDeviceDown(device: string): void {
  withSocket((ioctl) => setUp(ioctl, device, false));
}

/** What has no other way goes there. Does nothing when that is so already. */
export function setDefaultRoute(device: string, gateway: string): void {
  const name = Buffer.from(`${device}\0`);
  withSocket((ioctl, addressOf) => {
    const entry = Buffer.alloc(routeBytes);
    for (const at of [route.destination, route.mask]) entry.writeUInt16LE(AF_INET, at);
    writeAddress(entry, route.gateway, ipv4Bytes(gateway));
    entry.writeUInt16LE(RTF_UP | RTF_GATEWAY, route.flags);
    entry.writeBigUInt64LE(addressOf(name), route.device);
    ioctl(SIOCADDRT, entry, 'default route', EEXIST);
  });
}

type Ioctl = (request: bigint, argument: Buffer, what: string, accepted?: number) => void;

function withSocket(use: (ioctl: Ioctl, addressOf: (buffer: Buffer) => bigint) => void): void {
  const { call, addressOf, errno } = libc();
  const fd = call.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemError('socket', errno());
  try {
    use((request, argument, what, accepted) => {
      if (call.ioctl(fd, request, addressOf(argument)) === 0) return;
      const code = errno();
      if (code !== accepted) throw new SystemError('ioctl', code, what);
    }, addressOf);
  } finally {
    closeSync(fd);
  }
}

function setUp(ioctl: Ioctl, device: string, up: boolean): void {
  const request = requestFor(device);
  ioctl(SIOCGIFFLAGS, request, `flags of ${device}`);
  const flags = request.readUInt16LE(nameBytes);
  request.writeUInt16LE(up ? flags | IFF_UP : flags & ~IFF_UP, nameBytes);
  ioctl(SIOCSIFFLAGS, request, `flags of ${device}`);
}

function requestFor(device: string): Buffer {
  const request = Buffer.alloc(requestBytes);
  if (Buffer.byteLength(device) >= nameBytes) throw new TypeError(`${device} is no network device's name`);
  request.write(device);
  return request;
}

/** struct sockaddr_in. */
function writeAddress(target: Buffer, at: number, address: Buffer): void {
  target.writeUInt16LE(AF_INET, at);
  address.copy(target, at + 4);
}

function macBytes(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) throw new TypeError(`${mac} is no hardware address`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

function ipv4Bytes(address: string): Buffer {
  const parts = address.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255))
    throw new TypeError(`${address} is no IPv4 address`);
  return Buffer.from(parts);
}

function maskBytes(prefixLength: number): Buffer {
  const mask = Buffer.alloc(4);
  mask.writeUInt32BE(prefixLength === 0 ? 0 : (0xffff_ffff << (32 - prefixLength)) >>> 0);
  return mask;
}
