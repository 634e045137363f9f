import { describe, expect, it } from 'vitest';
import { parseShown, wantedPackages } from './packages.ts';

describe('packages by the word of apt', () => {
  it('are those that it would install, sorted, without what only installs or logs in', () => {
    const said = [
      'Reading package lists...',
      'Inst libc6:amd64 (2.36-9 Debian:12.15/oldstable [amd64]) []',
      'Inst bubblewrap (0.8.0-2 Debian:12.15/oldstable, Debian-Security:12 [amd64])',
      'Inst debconf (1.5.82 Debian:12.15/oldstable [all])',
      'Conf libc6 (2.36-9 Debian:12.15/oldstable [amd64])',
    ].join('\n');
    expect(wantedPackages(said)).toEqual(['bubblewrap', 'libc6']);
  });

  it('have a name, a version and a sum; a record without one is none', () => {
    const shown = [
      'Package: a\nVersion: 1:2.0\nDescription: Package: not this one\nSHA256: 00ff\n',
      'Package: b\nVersion: 1\n',
      'Package: c\nVersion: 3\nSHA256: 11aa',
    ].join('\n');
    expect(parseShown(shown)).toEqual([
      { name: 'a', version: '1:2.0', sha256: '00ff' },
      { name: 'c', version: '3', sha256: '11aa' },
    ]);
  });
});
