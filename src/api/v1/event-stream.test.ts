// Events by /v1, as a client reads them: what was missed and what happens, and readers who leave or take nothing.
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { startApi, testToken, type ApiUnderTest } from '../testing/api-under-test.ts';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const sentEvent = z.looseObject({ sequence: z.number(), message: z.string() });
type SentEvent = z.infer<typeof sentEvent> & { readonly id: string | undefined };

describe('events', () => {
  /** Reads until `count` events have come. */
  async function readEvents(
    count: number,
    headers: Record<string, string> = {},
    query = '',
    onOpen?: () => void,
  ): Promise<SentEvent[]> {
    const abort = new AbortController();
    const response = await api.fetch(`/v1/events${query}`, { headers, signal: abort.signal });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    onOpen?.();
    const events: SentEvent[] = [];
    let text = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const id = /^id: (.*)$/m.exec(block)?.[1];
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (data !== undefined) events.push({ ...sentEvent.parse(JSON.parse(data)), id });
      }
      if (events.length >= count) break;
    }
    abort.abort();
    return events;
  }

  test('what was missed comes first, then what happens, in order and once', async () => {
    for (let index = 1; index <= 1_200; index += 1) api.control.happen(`old ${index}`);
    const events = await readEvents(1_198, { 'last-event-id': '4' }, '', () => {
      api.control.happen('new 1');
      api.control.happen('new 2');
    });
    expect(events.map((event) => Number(event.id))).toEqual(
      Array.from({ length: 1_198 }, (_, index) => index + 5),
    );
    expect(events[0]).toMatchObject({
      type: 'test.happened',
      tenant: 'acme',
      workload: 'hello',
      message: 'old 5',
    });
    expect(events.at(-1)).toMatchObject({ message: 'new 2' });
  });

  test('without Last-Event-ID only what happens from now on comes', async () => {
    const events = await readEvents(1, {}, '', () => setTimeout(() => api.control.happen('now'), 20));
    expect(events).toMatchObject([{ message: 'now' }]);
  });

  test('what is kept can be read without waiting for more', async () => {
    const kept = api.control.events.length;
    const events = await readEvents(Infinity, {}, `?after=${kept - 2}&follow=false`);
    expect(events).toHaveLength(2);
  });

  test('a reader who left is not kept', async () => {
    await readEvents(1, { 'last-event-id': '0' });
    await expect.poll(() => api.control.listeners.size).toBe(0);
  });

  test('a reader who takes nothing is cut off instead of filling our memory', async () => {
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
    socket.write(`GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${testToken}\r\n\r\n`);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.pause();
    await expect.poll(() => api.control.listeners.size).toBe(1);
    for (let index = 0; index < 200 && api.control.listeners.size > 0; index += 1) {
      api.control.happen('x'.repeat(100_000));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => api.control.listeners.size).toBe(0);
    socket.destroy();
  });
});
