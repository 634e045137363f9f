import { describe, expect, test } from 'vitest';
import {
  bridgeAddress,
  bridgeName,
  directoryHash,
  formatSubnet,
  freeSubnet,
  macOf,
  maxSlots,
  parseSubnet,
  placeOfInterface,
  shaperName,
  tapName,
  unitAddress,
} from './names.ts';

const hash = directoryHash('/var/lib/bellows');

describe('names and addresses of units', () => {
  test('interfaces’ names fit the kernel’s 15 bytes and differ', () => {
    const places = [0, maxSlots].flatMap((slot) => (['a', 'b'] as const).map((side) => ({ slot, side })));
    const names = [
      bridgeName(hash),
      ...places.flatMap((place) => [tapName(hash, place), shaperName(hash, place)]),
    ];
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name.length).toBeLessThanOrEqual(15);
    for (const place of places)
      for (const name of [tapName(hash, place), shaperName(hash, place)])
        expect(placeOfInterface(hash, name)).toEqual(place);
    for (const name of [bridgeName(hash), 'lo', tapName(directoryHash('/other'), { slot: 1, side: 'a' })])
      expect(placeOfInterface(hash, name)).toBeUndefined();
  });

  test('another data directory’s are others', () => {
    const place = { slot: 1, side: 'a' } as const;
    expect(tapName(directoryHash('/other'), place)).not.toBe(tapName(hash, place));
  });

  test('each slot has addresses of its own, within the subnet', () => {
    const subnet = parseSubnet('10.213.16.0/20');
    expect(bridgeAddress(subnet)).toBe('10.213.16.1');
    expect(unitAddress(subnet, 0)).toBe('10.213.16.2');
    expect(unitAddress(subnet, maxSlots)).toBe('10.213.31.162');
    const macs = [0, 255, 256, maxSlots].flatMap((slot) => [
      macOf(hash, slot, 'door'),
      macOf(hash, slot, 'out'),
    ]);
    expect(new Set(macs).size).toBe(macs.length);
    for (const mac of macs) expect(mac).toMatch(/^0[26](:[0-9a-f]{2}){5}$/);
  });

  test('a free subnet meets no route of the machine, and two that start at once look elsewhere', () => {
    const first = freeSubnet(hash, ['default', '192.0.2.0/24', '10.0.0.7']);
    expect(formatSubnet(first)).toMatch(/^10\.\d+\.\d+\.0\/20$/);
    const second = freeSubnet(hash, [formatSubnet(first)]);
    expect(second).not.toEqual(first);
    expect(freeSubnet(directoryHash('/other'), [])).not.toEqual(first);
    expect(() => freeSubnet(hash, ['10.0.0.0/8'])).toThrow(
      expect.objectContaining({ code: 'NotSupportedHere' }),
    );
  });

  test.each(['10.213.0.1/20', '10.213.0.0/24', '300.0.0.0/20', 'nonsense'])('%s is no subnet', (text) => {
    expect(() => parseSubnet(text)).toThrow(expect.objectContaining({ code: 'BadRequest' }));
  });
});
