// What callers of @connections see: the unmodified AWS SDK against the gateway, with real runtimes and `ws` clients.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import {
  ApiGatewayManagementApiClient,
  DeleteConnectionCommand,
  GetConnectionCommand,
  PostToConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { testTenant } from '../testing/harness.ts';
import { closed, connectionIdOf, HeldChat, soon } from '../testing/held-chat.ts';

let chat: HeldChat;
beforeEach(() => {
  chat = new HeldChat();
});
afterEach(() => chat.dispose());

describe('@connections', () => {
  let sdk: ApiGatewayManagementApiClient;
  const open = (credentials = testTenant): ApiGatewayManagementApiClient =>
    (sdk = new ApiGatewayManagementApiClient({
      endpoint: `${chat.harness.url}/w/acme/chat`,
      region: 'us-east-1',
      credentials,
      maxAttempts: 1,
    }));
  afterEach(() => sdk.destroy());

  const post = (ConnectionId: string, Data: string | Uint8Array): Promise<unknown> =>
    sdk.send(new PostToConnectionCommand({ ConnectionId, Data })).then(
      ({ $metadata }) => $metadata.httpStatusCode,
      ({ name, $metadata }: { name: string; $metadata: { httpStatusCode: number } }) =>
        `${$metadata.httpStatusCode} ${name}`,
    );

  test('M-D2: the unmodified SDK sends, looks and closes, and is told of what is gone or too large', async () => {
    await chat.start();
    open();
    const client = await chat.connected('/', [], { headers: { 'User-Agent': 'tester' } });
    const id = await connectionIdOf(client);
    expect(await post(id, 'hello')).toBe(200);
    expect(await post(id, new Uint8Array([0, 255]))).toBe(200);
    expect(await post(id, 'x'.repeat(128 * 1024))).toBe(200);
    await soon(() => client.told).toHaveLength(3);
    expect(client.told.slice(0, 2)).toEqual(['hello', 'base64:AP8=']);
    expect(await post(id, 'x'.repeat(128 * 1024 + 1))).toBe('413 PayloadTooLargeException');
    const seen = await sdk.send(new GetConnectionCommand({ ConnectionId: id }));
    expect(seen.Identity).toEqual({ SourceIp: '127.0.0.1', UserAgent: 'tester' });
    expect(seen.ConnectedAt?.getTime()).toBeLessThanOrEqual(seen.LastActiveAt?.getTime() ?? 0);
    const ending = closed(client);
    const gone = await sdk.send(new DeleteConnectionCommand({ ConnectionId: id }));
    expect(gone.$metadata.httpStatusCode).toBe(204);
    expect(await ending).toBe('1000 Connection Closed Normally');
    expect(await post(id, 'too late')).toBe('410 GoneException');
    expect(await post('never/was=', 'x')).toBe('410 GoneException');
  });

  test('only who signs with the credentials of its tenant gets in', async () => {
    await chat.start();
    const client = await chat.connected();
    const id = await connectionIdOf(client);
    open({ ...testTenant, secretAccessKey: 'guessed' });
    expect(await post(id, 'x')).toBe('403 InvalidSignatureException');
    const other = { ...testTenant, id: 'other' as typeof testTenant.id, accessKeyId: 'AKIAOTHER' };
    chat.harness.change({ change: 'tenant', tenant: other });
    await chat.harness.call('sync', {});
    open(other);
    expect(await post(id, 'x')).toBe('403 ForbiddenException');
    const unsigned = await fetch(`${chat.harness.url}/w/acme/chat/@connections/${id}`, { method: 'DELETE' });
    expect(unsigned.status).toBe(403);
    expect(client.socket.readyState).toBe(WebSocket.OPEN);
    expect(client.told).toEqual([]);
  });

  test('who can not have signed as its tenant is refused before its message is taken', async () => {
    await chat.deployed();
    const other = { ...testTenant, id: 'other' as typeof testTenant.id, accessKeyId: 'AKIAOTHER' };
    chat.harness.change({ change: 'tenant', tenant: other });
    await chat.harness.call('sync', {});
    const date = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
    const signed = (key: string): string =>
      `X-Amz-Date: ${date}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=${key}/${date.slice(0, 8)}/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\n`;
    const head = `POST /w/acme/chat/@connections/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n`;
    for (const [headers, answer] of [
      ['', /^HTTP\/1\.1 403 [^]*MissingAuthenticationToken/],
      [signed('AKIAOTHER'), /^HTTP\/1\.1 403 [^]*ForbiddenException/],
      [signed(testTenant.accessKeyId), /^HTTP\/1\.1 100 Continue/],
    ] as const) {
      const socket = connect({ port: chat.harness.port, host: '127.0.0.1' });
      socket.write(`${head}${headers}\r\n`);
      const [bytes] = (await once(socket, 'data')) as [Buffer];
      socket.destroy();
      expect(bytes.toString()).toMatch(answer);
    }
  });

  test('a client that reads nothing is not sent without end: LimitExceededException', async () => {
    await chat.start();
    open();
    const client = await chat.connected();
    const id = await connectionIdOf(client);
    client.socket.pause();
    // What can be compressed would fit into the kernel's buffers many times over.
    const chunk = randomBytes(64 * 1024).toString('hex');
    let answer: unknown = 200;
    let sent = 0;
    while (answer === 200) {
      answer = await post(id, chunk);
      if (answer === 200) sent += 1;
    }
    expect(answer).toBe('429 LimitExceededException');
    client.socket.resume();
    await soon(() => client.told).toHaveLength(sent);
    expect(await post(id, 'again')).toBe(200);
  });
});
