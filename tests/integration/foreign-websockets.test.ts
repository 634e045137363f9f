// WebSocket clients that are not ours and not `ws`: Debian's python3-websockets and python3-autobahn, and a browser. At an app
// whose sockets are handed over, a tunnelled one, connections that the gateway holds, and the same server without a gateway.
import type { Browser } from 'playwright-core';
import { execFile, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { workloadOf } from '../../src/gateway/testing/harness.ts';
import { ThreeWays, type Way } from '../../src/gateway/testing/three-ways.ts';
import { noBrowser, startBrowser } from '../support/browser.ts';
import { suiteNeeding } from '../support/needs.ts';

/** Debian's, for whose packages they are; another Python on the PATH has packages of its own. */
const python = '/usr/bin/python3';
function missing(module: string, debianPackage: string): string | undefined {
  const found = spawnSync(python, ['-c', `import ${module}`]).status === 0;
  return found ? undefined : `${debianPackage} is not installed: apt-get install ${debianPackage}`;
}

const server = `
  const { createServer } = require('node:http');
  const { WebSocketServer } = require(${JSON.stringify(createRequire(import.meta.url).resolve('ws'))});
  const server = createServer();
  new WebSocketServer({ server, perMessageDeflate: { threshold: 0 } }).on('connection', (socket) =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })));
  server.listen(process.env.PORT, () => console.log(server.address().port));`;

/** The same for connections that the gateway holds. */
const heldEcho = `exports.handler = async ({ requestContext, body, isBase64Encoded }) =>
  requestContext.eventType === 'MESSAGE' ? { statusCode: 200, body, isBase64Encoded } : { statusCode: 200 };`;

/** What each client says, as far as it can; held messages are as long as API Gateway's at most, so no longer here. */
const said = ['text, κόσμε', 'bytes', 'x'.repeat(100_000)];

const websocketsClient = `
import asyncio, json, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as socket:
        echoed = []
        for said in json.loads(sys.argv[2]) + [b'\\x00\\xff']:
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

const autobahnClient = `
import asyncio, json, sys
from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer, PerMessageDeflateResponse, PerMessageDeflateResponseAccept)

said = [(text.encode(), False) for text in json.loads(sys.argv[2])] + [(b'\\x00\\xff', True)]

class Client(WebSocketClientProtocol):
    def onOpen(self):
        self.echoed = []
        for data, binary in said:
            self.sendMessage(data, binary)
        self.beginMessage()
        for part in (b'in ', b'three ', b'fragments'):
            self.sendMessageFrame(part)
        self.endMessage()

    def onMessage(self, data, binary):
        at = len(self.echoed)
        self.echoed.append((data, binary) == said[at] if at < len(said) else data.decode())
        if at == len(said):
            self.sendPing(b'are you there')

    def onPong(self, payload):
        self.echoed.append(payload.decode())
        self.sendClose(4321, 'enough')

    def onClose(self, clean, code, reason):
        used = [type(self._perMessageCompress).EXTENSION_NAME] if self._perMessageCompress else []
        self.factory.ended.set_result([self.echoed, used, code, reason])

def accept(response):
    if isinstance(response, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(response)

async def main():
    loop = asyncio.get_running_loop()
    factory = WebSocketClientFactory(sys.argv[1], loop=loop)
    factory.protocol = Client
    factory.ended = loop.create_future()
    factory.setProtocolOptions(
        perMessageCompressionOffers=[PerMessageDeflateOffer()], perMessageCompressionAccept=accept)
    await loop.create_connection(factory, factory.host, factory.port)
    print(json.dumps(await factory.ended))
asyncio.run(main())
`;

/** Runs in the page: `[url, texts]` to what came back, the extensions, and how it was closed. */
const browserClient = `([url, texts]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  const said = [...texts, new Uint8Array([0, 255]).buffer];
  const echoed = [];
  const bytesOf = (data) => (typeof data === 'string' ? data : String(new Uint8Array(data)));
  socket.onerror = () => reject(new Error('the WebSocket failed'));
  socket.onopen = () => { for (const one of said) socket.send(one); };
  socket.onmessage = ({ data }) => {
    echoed.push(bytesOf(data) === bytesOf(said[echoed.length]));
    if (echoed.length === said.length) socket.close(4321, 'enough');
  };
  socket.onclose = ({ code, reason }) => resolve([echoed, socket.extensions.split(';').slice(0, 1), code, reason]);
})`;

type Served = Way | 'held';
const served: readonly Served[] = ['direct', 'tunnelled', 'held', 'straight'];
const deflate = ['permessage-deflate'];

let ways: ThreeWays;
beforeAll(async () => {
  ways = await ThreeWays.start(server);
  const websocket = {
    routes: ['$connect', '$default'],
    routeSelectionExpression: '$request.body.action',
    idleTimeoutMs: null,
    maxDurationMs: null,
  };
  ways.harness.deploy(workloadOf('held', { websocket }));
  await ways.harness.startInstance('held', { 'index.js': heldEcho });
  await ways.harness.call('sync', {});
});
afterAll(() => ways.dispose());

const urlOf = (way: Served): string =>
  way === 'held'
    ? `ws://127.0.0.1:${ways.harness.port}/w/acme/held/`
    : `ws://127.0.0.1:${ways.port(way)}${ways.prefix(way)}/`;

async function runPython(code: string, way: Served): Promise<unknown> {
  const { stdout } = await promisify(execFile)(python, ['-c', code, urlOf(way), JSON.stringify(said)]);
  return JSON.parse(stdout);
}

describe('M-D2 M-C4: text, binary, compression and close codes come back as they were said', () => {
  suiteNeeding('to python3-websockets', missing('websockets', 'python3-websockets'), () => {
    test.each(served)('with fragments and pings, %s', async (way) => {
      const echoed = [true, true, true, true, 'in three fragments'];
      expect(await runPython(websocketsClient, way)).toEqual([echoed, deflate, 4321, 'enough']);
    });
  });

  suiteNeeding('to python3-autobahn', missing('autobahn.asyncio.websocket', 'python3-autobahn'), () => {
    test.each(served)('with fragments and pings, %s', async (way) => {
      const echoed = [true, true, true, true, 'in three fragments', 'are you there'];
      expect(await runPython(autobahnClient, way)).toEqual([echoed, deflate, 4321, 'enough']);
    });
  });

  suiteNeeding('to a browser', noBrowser, () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await startBrowser();
    });
    afterAll(() => browser.close());

    test.each(served)('%s', async (way) => {
      const page = await browser.newPage();
      const seen = await page.evaluate(`(${browserClient})(${JSON.stringify([urlOf(way), said])})`);
      expect(seen).toEqual([[true, true, true, true], deflate, 4321, 'enough']);
      await page.close();
    });
  });
});
