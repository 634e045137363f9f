// What a Lambda developer sees of answers that are streamed.
import { afterEach, describe, expect, test } from 'vitest';
import { encodeFrame } from '../../base/frame.ts';
import { answerLimits, frameType, invokeFlag, outcome, streamPieceBytes } from '../../protocol/instance.ts';
import { FunctionUnderTest } from './testing/function-under-test.ts';

const fn = new FunctionUnderTest();
afterEach(() => fn.dispose());

describe('streamed answers', () => {
  const files = {
    'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
      if (event.http) stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 1 }, cookies: ['c=1'] });
      else stream.setContentType('text/plain');
      if (event.early) throw new Error('early');
      for (const part of event.parts) { stream.write(part); await new Promise((r) => setTimeout(r, 5)); }
      if (event.late) throw new Error('late');
      stream.end();
    });`,
  };
  test('arrive in parts when the caller takes a stream, with their prelude', async () => {
    await fn.bound(files);
    const answer = await fn.client.invoke(
      { parts: ['one', 'two'], http: true },
      { flags: invokeFlag.stream },
    );
    expect(answer.prelude).toMatchObject({ statusCode: 201, headers: { 'x-a': '1' }, cookies: ['c=1'] });
    expect(answer.chunks).toEqual(['one', 'two']);
    expect(answer).toMatchObject({ outcome: outcome.ok, text: '' });
    const plain = await fn.client.invoke({ parts: [] }, { flags: invokeFlag.stream });
    expect(plain.prelude).toEqual({ contentType: 'text/plain' });
  });
  test('are gathered when it does not', async () => {
    await fn.bound(files);
    expect((await fn.client.invoke({ parts: ['one', 'two'] })).text).toBe('onetwo');
    const [prelude, body] = (await fn.client.invoke({ parts: ['b'], http: true })).text.split('\0'.repeat(8));
    expect(JSON.parse(prelude ?? '')).toMatchObject({ statusCode: 201 });
    expect(body).toBe('b');
  });
  test('that fail early or late end with the error', async () => {
    await fn.bound(files);
    const early = await fn.client.invoke({ parts: [], early: true }, { flags: invokeFlag.stream });
    expect(early).toMatchObject({ outcome: outcome.handled, prelude: undefined });
    const late = await fn.client.invoke({ parts: ['one'], late: true }, { flags: invokeFlag.stream });
    expect(late).toMatchObject({ outcome: outcome.handled, chunks: ['one'] });
    expect(late.json()).toMatchObject({ errorMessage: 'late' });
  });
  test('go out in pieces, however much is written at once', async () => {
    await fn.bound({
      'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.end('x'.repeat(event.length)); });`,
    });
    const { chunks } = await fn.client.invoke({ length: 1_000_000 }, { flags: invokeFlag.stream });
    expect(chunks.join('')).toHaveLength(1_000_000);
    expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThanOrEqual(streamPieceBytes);
  });
  test('are as large as Lambda lets them be where they are gathered', async () => {
    await fn.bound({
      'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.end('x'.repeat(event.length)); });`,
    });
    expect((await fn.client.invoke({ length: answerLimits.bufferedBytes })).text).toHaveLength(
      answerLimits.bufferedBytes,
    );
    expect((await fn.client.invoke({ length: answerLimits.bufferedBytes + 1 })).json()).toMatchObject({
      errorType: 'Function.ResponseSizeTooLarge',
    });
  });
  test('have the buffer that streamifyResponse was given', async () => {
    await fn.bound({
      'index.mjs': `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.end(String(stream.writableHighWaterMark)); }, { highWaterMark: 12345 });`,
    });
    expect((await fn.client.invoke({})).text).toBe('12345');
  });
  test('end with the error, and what code that was left behind writes after it belongs to nothing', async () => {
    await fn.bound({
      'index.mjs': `let late;
      export const handler = awslambda.streamifyResponse(async (event, stream) => {
        if (late !== undefined) { for (let n = 0; n < 10; n++) late.write('late'); await new Promise((r) => setTimeout(r, 20)); stream.end('well'); return; }
        late = stream; stream.write('one'); throw new Error('no');
      });`,
    });
    const options = { flags: invokeFlag.stream };
    expect(await fn.client.invoke({}, options)).toMatchObject({ outcome: outcome.handled, chunks: ['one'] });
    const second = await fn.client.invoke({}, options);
    expect(second).toMatchObject({ outcome: outcome.ok, chunks: ['well'] });
    const late = fn.client.frames.filter(({ payload }) => payload.toString() === 'late');
    expect(late).toEqual([]);
  });
  test('that nobody wants any more before they begin are not run, and answered in their turn', async () => {
    await fn.bound({
      'index.mjs': `let runs = 0;
      export const handler = awslambda.streamifyResponse(async (event, stream) => { runs += 1; stream.end(String(runs)); });`,
    });
    const options = { flags: invokeFlag.stream };
    // All in one write, so that the first runs while the others wait.
    fn.client.socket.cork();
    const ids = [1, 2, 3].map(() => fn.client.sendInvoke({}, options));
    fn.client.socket.write(encodeFrame(frameType.abandon, ids[1] ?? 0, ''));
    fn.client.socket.uncork();
    const answers = await Promise.all(ids.map((id) => fn.client.answerTo(id)));
    expect(answers.map(({ chunks }) => chunks.join(''))).toEqual(['1', '', '2']);
    expect(answers[1]).toMatchObject({ outcome: outcome.ok, prelude: undefined, durationMicros: 0 });
  });
  test('larger than the socket buffers arrive whole', async () => {
    await fn.bound({
      'index.mjs': `import { Readable } from 'node:stream'; import { pipeline } from 'node:stream/promises';
      export const handler = awslambda.streamifyResponse(async (event, stream) => {
        await pipeline(Readable.from((function* () { for (let i = 0; i < 200; i++) yield Buffer.alloc(65536, 97 + i % 26) })()), stream);
      });`,
    });
    const answer = await fn.client.invoke({}, { flags: invokeFlag.stream });
    expect(answer.chunks.join('').length).toBe(200 * 65536);
  });
});
