import { connect, createServer, type AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { findOwner, ownerOfConnection, ownerOfListener } from './socket-owner.ts';

test('the owner stands in the eighth column of the line with both addresses', () => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1',
    '   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 12 1',
    '   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1234        0 13 1',
  ].join('\n');
  expect(findOwner(table, '0100007F:C350', '0100007F:1F90')).toBe(1234);
  expect(findOwner(table, '0100007F:C351', '0100007F:1F90')).toBeUndefined();
});

test.skipIf(process.platform !== 'linux')('a connection and a listener belong to who made them', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const client = connect(port, '127.0.0.1');
  onTestFinished(() => void (client.destroy(), server.close()));
  await new Promise<void>((resolve) => client.once('connect', resolve));
  expect(await ownerOfConnection(client.localPort ?? 0, port)).toBe(process.getuid?.());
  expect(await ownerOfListener(port)).toBe(process.getuid?.());
  expect(await ownerOfConnection(1, port)).toBeUndefined();
});
