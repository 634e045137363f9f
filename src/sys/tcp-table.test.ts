import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { awaitedAddresses, awaitedIn } from './tcp-table.ts';

const head =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (remote: string, state: string, queued: string): string =>
  `   0: 0101A80A:9C40 ${remote} ${state} ${queued}:00000000 01:00000014 00000003     0        0 12345 2\n`;
const unit = '10.168.1.3';
const remote = '0301A80A:1B58';

test('an address is awaited when something sent to it is not acknowledged, or a connection is being made', () => {
  expect([...awaitedIn(head + line(remote, '01', '00000005'), [unit])]).toEqual([unit]);
  expect([...awaitedIn(head + line(remote, '02', '00000001'), [unit])]).toEqual([unit]);
  expect([
    ...awaitedIn(head + line(remote, '01', '00000000') + line(remote, '04', '00000001'), [unit]),
  ]).toEqual([unit]);
});

test('an address is not awaited while all that was sent has arrived, or for what is another’s', () => {
  expect([...awaitedIn(head + line(remote, '01', '00000000'), [unit])]).toEqual([]);
  expect([...awaitedIn(head + line('0401A80A:1B58', '01', '00000005'), [unit])]).toEqual([]);
  const from = line('0401A80A:1B58', '01', '00000005').replace('0101A80A:9C40', '0301A80A:1B58');
  expect([...awaitedIn(head + from, [unit])]).toEqual([]);
});

test('the kernel’s own table says so of a receiver that does not read', async () => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer({ pauseOnConnect: true }, accepted.resolve).listen(0, '127.0.0.77');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.77');
  const received = await accepted.promise;
  expect([...(await awaitedAddresses(['127.0.0.77']))]).toEqual([]);
  // More than both ends' buffers hold.
  socket.write(Buffer.alloc(32 * 1024 * 1024));
  await expect.poll(async () => [...(await awaitedAddresses(['127.0.0.77']))]).toEqual(['127.0.0.77']);
  for (const each of [socket, received]) each.destroy();
  server.close();
});
