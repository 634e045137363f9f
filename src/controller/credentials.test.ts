import { expect, test, vi } from 'vitest';
import { unlessDiskIsFull } from './credentials.ts';

test('a start on a full disk goes on with the credentials file as it is, and says so', async () => {
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  const warn = vi.fn();
  await unlessDiskIsFull(() => Promise.reject(full), { warn });
  expect(warn).toHaveBeenCalledWith({ err: full }, expect.stringContaining('the disk is full'));
});

test('a start with a credentials file that can not be written otherwise fails', async () => {
  const refused = Object.assign(new Error('permission denied'), { code: 'EACCES' });
  await expect(unlessDiskIsFull(() => Promise.reject(refused), { warn: vi.fn() })).rejects.toBe(refused);
});
