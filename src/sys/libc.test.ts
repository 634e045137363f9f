import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { libc, SystemError } from './libc.ts';

test('a failed call leaves its errno', () => {
  const { call, errno } = libc();
  expect(call.umount2('/does/not/exist', 0)).toBe(-1);
  expect(['ENOENT', 'EPERM']).toContain(new SystemError('umount', errno()).code);
});

test('a system error looks like one of Node', () => {
  const error = new SystemError('sendmsg', 11, 'of something');
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: 'SystemError',
    code: 'EAGAIN',
    errno: -11,
    syscall: 'sendmsg',
    message: 'EAGAIN: resource temporarily unavailable, sendmsg of something',
  });
});

test('errors that Node has no name for still make sense', () => {
  expect(new SystemError('sendmsg', 109).code).toBe('ETOOMANYREFS');
  expect(new SystemError('x', 4000)).toMatchObject({ code: 'errno 4000', errno: -4000 });
});

test('each thread reads its own errno', async () => {
  const program = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('./libc.ts', import.meta.url).href)}).then(({ libc }) => {
      const { call, errno } = libc();
      call.sendmsg(-1, null, 0);
      parentPort.postMessage(errno());
    });`;
  const { call, errno } = libc();
  call.getsockopt(0, -1, -1, null, null);
  const before = errno();
  const worker = new Worker(program, { eval: true });
  const inWorker = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  expect(inWorker).toBe(9);
  expect(before).not.toBe(9);
});
