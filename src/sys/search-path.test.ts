import { expect, test } from 'vitest';
import { withSystemDirectories } from './search-path.ts';

test.each([
  ['/usr/bin:/bin', '/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin'],
  ['/sbin:/usr/bin', '/sbin:/usr/bin:/usr/local/sbin:/usr/sbin'],
  ['', '/usr/local/sbin:/usr/sbin:/sbin'],
  [undefined, '/usr/local/sbin:/usr/sbin:/sbin'],
])('what PATH %s leaves out of the system’s directories comes last', (path, expected) => {
  expect(withSystemDirectories(path)).toBe(expected);
});
