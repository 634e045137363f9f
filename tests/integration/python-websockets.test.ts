// A client that is not JavaScript, Debian's python3-websockets, at apps whose sockets are handed over and at tunnelled ones.
import { execFile, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ThreeWays, type Way } from '../../src/gateway/testing/three-ways.ts';
import { suiteNeeding } from '../support/needs.ts';

/** Debian's, for whose package it is; another Python on the PATH has packages of its own. */
const python = '/usr/bin/python3';
const missing =
  spawnSync(python, ['-c', 'import websockets']).status === 0
    ? undefined
    : 'python3-websockets is not installed: apt-get install python3-websockets';

const server = `
  const { createServer } = require('node:http');
  const { WebSocketServer } = require(${JSON.stringify(createRequire(import.meta.url).resolve('ws'))});
  const server = createServer();
  new WebSocketServer({ server, perMessageDeflate: { threshold: 0 } }).on('connection', (socket) =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })));
  server.listen(process.env.PORT, () => console.log(server.address().port));`;

const client = `
import asyncio, json, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as socket:
        echoed = []
        for said in ['text, κόσμε', b'\\x00\\xff', '', 'x' * 1000000]:
            await socket.send(said)
            echoed.append(await socket.recv() == said)
        await socket.send(['in ', 'three ', 'fragments'])
        echoed.append(await socket.recv())
        await (await socket.ping())
        extensions = [extension.name for extension in socket.extensions]
        await socket.close(4321, 'enough')
        print(json.dumps([echoed, extensions, socket.close_code, socket.close_reason]))
asyncio.run(main())
`;

suiteNeeding('the WebSocket client of Python', missing, () => {
  let ways: ThreeWays;
  beforeAll(async () => {
    ways = await ThreeWays.start(server);
  });
  afterAll(() => ways.dispose());

  test.each<Way>(['direct', 'tunnelled', 'straight'])(
    'M-D2: text, binary, fragments, pings, compression and close codes come back as they were said, %s',
    async (way) => {
      const url = `ws://127.0.0.1:${ways.port(way)}${ways.prefix(way)}/`;
      const { stdout } = await promisify(execFile)(python, ['-c', client, url]);
      expect(JSON.parse(stdout)).toEqual([
        [true, true, true, true, 'in three fragments'],
        ['permessage-deflate'],
        4321,
        'enough',
      ]);
    },
  );
});
