import { expect, test } from 'vitest';
import { processorOf } from './processor.ts';

const cpuinfo = (change: Readonly<Record<string, string>> = {}): string =>
  [0, 1]
    .map((number) =>
      Object.entries({
        processor: String(number),
        vendor_id: 'GenuineIntel',
        model: '85',
        'model name': 'A processor',
        microcode: '0x1',
        'cpu MHz': '2000.1',
        flags: 'fpu vme avx2',
        ...change,
      })
        .map(([name, value]) => `${name}\t: ${value}\n`)
        .join(''),
    )
    .join('\n');

test('a template of a guest that ran on the processor itself is of no use on another', () => {
  const here = processorOf('kvm', cpuinfo(), '6.1.0');
  for (const change of [{ model: '86' }, { microcode: '0x2' }, { flags: 'fpu vme' }])
    expect(processorOf('kvm', cpuinfo(change), '6.1.0')).not.toBe(here);
  expect(processorOf('kvm', cpuinfo(), '6.12.0')).not.toBe(here);
});

test('it is the same processor at another speed', () => {
  expect(processorOf('kvm', cpuinfo({ 'cpu MHz': '3400' }), '6.1.0')).toBe(
    processorOf('kvm', cpuinfo(), '6.1.0'),
  );
});

test('a translated guest has seen nothing of it', () => {
  expect(processorOf('tcg', cpuinfo(), '6.1.0')).toBe('tcg');
});
