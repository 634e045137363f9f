/**
 * Owns: a descriptor of a tap that is there (tuntap.rst), to be given to another process: that one needs neither a right of its
 * own nor /dev/net/tun, which belongs to root alone where no udev runs.
 * Does not own: making the tap. Needs CAP_NET_ADMIN.
 */
import { closeSync, openSync } from 'node:fs';
import { libc, SystemError } from './libc.ts';

// linux/if_tun.h
const TUNSETIFF = 0x400454can;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** struct ifreq: the name, then flags. */
const nameBytes = 16;
const requestBytes = 40;

/** To be closed by the caller. @throws SystemError EBUSY while another holds the tap */
export function openTap(name: string): number {
  const { call, errno, addressOf } = libc();
  const request = Buffer.alloc(requestBytes);
  request.write(name, 0, nameBytes - 1, 'latin1');
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, nameBytes);
  const fd = openSync('/dev/net/tun', 'r+');
  if (call.ioctl(fd, TUNSETIFF, addressOf(request)) === 0) return fd;
  const error = errno();
  closeSync(fd);
  throw new SystemError('ioctl', error, `TUNSETIFF ${name}`);
}
