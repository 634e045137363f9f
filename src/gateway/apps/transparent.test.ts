// After an upgrade a client and an app see what they would see without a gateway: every byte, in order, whenever it was sent and
// however it was cut, and how the other side ended.
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ThreeWays, type Way } from '../testing/three-ways.ts';

/**
 * An upgrade to /BEHAVIOUR/ID/EARLY is answered when EARLY bytes have come behind it. `mirror` sends back every byte, inverted, and
 * when the client has ended its side what it counted; `ends` ends its own side first, and reads on when it is asked what it has
 * seen; `resets` does so at the next byte. GET /seen/ID answers when that connection is closed.
 */
const server = `
  const { createServer } = require('node:http');
  const { createHash } = require('node:crypto');
  const ends = new Map();
  const endOf = (id) => {
    if (!ends.has(id)) ends.set(id, { ...Promise.withResolvers(), socket: undefined });
    return ends.get(id);
  };
  const server = createServer(async (request, response) => {
    const end = endOf(request.url.split('/')[2]);
    end.socket?.resume();
    response.end(JSON.stringify(await end.promise));
  });
  server.on('upgrade', (request, socket, head) => {
    const [, behaviour, id, early] = request.url.split('/');
    const hash = createHash('sha256');
    let bytes = 0, answered = false, error = null, ended = false;
    const back = [];
    const take = (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
      if (answered && behaviour === 'resets') socket.resetAndDestroy();
      if (behaviour === 'mirror') {
        const inverted = Buffer.from(chunk.map((byte) => byte ^ 0xff));
        if (!answered) back.push(inverted);
        else if (!socket.write(inverted)) socket.pause();
      }
      if (!answered && bytes >= Number(early)) {
        answered = true;
        // With its answer the first bytes of the app, in one write.
        socket.write(Buffer.concat([
          Buffer.from('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: mirror\\r\\n\\r\\n'),
          ...back,
        ]));
        if (behaviour === 'ends') socket.end('over').pause();
      }
    };
    const seen = () => ({ bytes, sha256: hash.copy().digest('hex'), ended, error });
    endOf(id).socket = socket;
    socket.on('data', take);
    socket.on('drain', () => socket.resume());
    socket.on('error', ({ code }) => (error = code));
    socket.on('end', () => {
      ended = true;
      if (behaviour === 'mirror') socket.end(JSON.stringify(seen()));
    });
    socket.on('close', () => endOf(id).resolve(seen()));
    take(head);
  });
  server.listen(process.env.PORT, () => console.log(server.address().port));`;

let ways: ThreeWays;
let lastId = 0;
beforeAll(async () => {
  ways = await ThreeWays.start(server);
});
afterAll(() => ways.dispose());

interface Seen {
  readonly bytes: number;
  readonly sha256: string;
  readonly ended: boolean;
  readonly error: string | null;
}

const newId = (): string => String((lastId += 1));

async function seen(way: Way, id: string): Promise<Seen> {
  const answer = await fetch(`http://127.0.0.1:${ways.port(way)}${ways.prefix(way)}/seen/${id}`);
  return (await answer.json()) as Seen;
}

const upgrade = (way: Way, path: string): string =>
  `GET ${ways.prefix(way)}${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: mirror\r\n\r\n`;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Everything that comes, and its body: what follows the head of the answer. */
class Reader {
  #bytes = Buffer.alloc(0);
  readonly answered: Promise<void>;
  readonly ended: Promise<unknown>;
  readonly closed: Promise<unknown>;
  error: string | undefined;

  constructor(socket: Socket) {
    this.ended = new Promise((resolve) => socket.once('end', resolve));
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', (error: NodeJS.ErrnoException) => (this.error = error.code));
    this.answered = new Promise((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        this.#bytes = Buffer.concat([this.#bytes, chunk]);
        if (this.#bodyAt >= 0) resolve();
      });
    });
  }

  get #bodyAt(): number {
    const at = this.#bytes.indexOf('\r\n\r\n');
    return at < 0 ? at : at + 4;
  }

  get head(): string {
    return this.#bytes.subarray(0, this.#bodyAt).toString('latin1');
  }

  get body(): Buffer {
    return this.#bytes.subarray(this.#bodyAt);
  }
}

/** Bytes as they may be cut: mostly little, at times more than any buffer on the way holds at once. */
const chunk = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  {
    weight: 1,
    arbitrary: fc
      .record({ bytes: fc.integer({ min: 60_000, max: 200_000 }), seed: fc.nat() })
      .map(({ bytes, seed }) =>
        createHash('shake256', { outputLength: bytes }).update(String(seed)).digest(),
      ),
  },
);
const conversation = fc.record({
  /** In one write with the end of the request. */
  withRequest: fc.uint8Array({ maxLength: 300 }),
  cutRequestAt: fc.nat(60),
  beforeAnswer: fc.array(chunk, { maxLength: 4 }),
  afterAnswer: fc.array(chunk, { maxLength: 8 }),
  pauses: fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
});

const sum = (chunks: readonly Uint8Array[]): number =>
  chunks.reduce((bytes, { length }) => bytes + length, 0);

describe.each<Way>(['direct', 'tunnelled', 'straight'])('a connection after its upgrade, %s', (way) => {
  test('M-C5: carries arbitrary bytes both ways, however they are cut, also those sent with the request and before its answer', async () => {
    await fc.assert(
      fc.asyncProperty(conversation, async (said) => {
        const { withRequest, beforeAnswer, afterAnswer, pauses } = said;
        const early = withRequest.length + sum(beforeAnswer);
        const id = newId();
        const socket = ways.connect(way);
        const reader = new Reader(socket);
        const send = async (bytes: Uint8Array): Promise<void> => {
          socket.write(bytes);
          if (pauses.pop() === true) await nextTurn();
        };
        const request = Buffer.from(upgrade(way, `/mirror/${id}/${early}`));
        await send(request.subarray(0, said.cutRequestAt));
        await send(Buffer.concat([request.subarray(said.cutRequestAt), withRequest]));
        for (const bytes of beforeAnswer) await send(bytes);
        await reader.answered;
        for (const bytes of afterAnswer) await send(bytes);
        // The client has said all, and listens on.
        socket.end();
        await reader.ended;
        const sent = Buffer.concat([withRequest, ...beforeAnswer, ...afterAnswer]);
        const mirrored = reader.body.subarray(0, sent.length);
        expect(reader.head).toMatch(/^HTTP\/1\.1 101 /);
        expect(mirrored.equals(Buffer.from(sent.map((byte) => byte ^ 0xff)))).toBe(true);
        expect(JSON.parse(reader.body.subarray(sent.length).toString())).toEqual({
          bytes: sent.length,
          sha256: createHash('sha256').update(sent).digest('hex'),
          ended: true,
          error: null,
        });
        await reader.closed;
        expect(reader.error).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });

  test('that the app has ended on its side still takes what the client says', async () => {
    const id = newId();
    const socket = ways.connect(way);
    const reader = new Reader(socket);
    socket.write(upgrade(way, `/ends/${id}/0`));
    await reader.ended;
    expect(reader.body.toString()).toBe('over');
    // More than the kernel holds for who does not read.
    const rest = Buffer.alloc(16_000_000, 'r');
    socket.end(rest);
    await nextTurn();
    expect(await seen(way, id)).toEqual({
      bytes: rest.length,
      sha256: createHash('sha256').update(rest).digest('hex'),
      ended: true,
      error: null,
    });
  });

  test('that the client resets is reset at the app: what came is not taken for all there was', async () => {
    const id = newId();
    const socket = ways.connect(way);
    const reader = new Reader(socket);
    socket.write(upgrade(way, `/mirror/${id}/0`));
    await reader.answered;
    socket.resetAndDestroy();
    expect(await seen(way, id)).toMatchObject({ ended: false, error: 'ECONNRESET' });
  });

  test('that the app resets is reset at the client', async () => {
    const socket = ways.connect(way);
    const reader = new Reader(socket);
    socket.write(upgrade(way, `/resets/${newId()}/0`));
    await reader.answered;
    socket.write('now');
    await once(socket, 'close').catch(() => undefined);
    expect(reader.error).toBe('ECONNRESET');
  });
});
