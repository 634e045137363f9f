import { expect, test } from 'vitest';
import { ownAuthority } from './own-authority.ts';

test.each([
  ['127.0.0.1', '127.0.0.1:8080'],
  ['0.0.0.0', '127.0.0.1:8080'],
  ['::', '127.0.0.1:8080'],
  ['localhost', '127.0.0.1:8080'],
  ['::1', '[::1]:8080'],
  ['192.168.1.5', '192.168.1.5:8080'],
])('who listens on %s is reached at %s', (host, authority) => {
  expect(ownAuthority(host, 8080)).toBe(authority);
});
