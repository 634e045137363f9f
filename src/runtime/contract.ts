// What every runtime that speaks frames must do, as a test suite: call it from the runtime's own test.
// Owns the behaviour that the agent and the gateway rely on. Does not own what is particular to a language.
import { afterEach, describe, expect, test } from 'vitest';
import { frameType, invokeFlag, outcome, type TrimResult } from '../protocol/instance.ts';
import type { LaunchPlan } from './port.ts';
import { grantOf, newRequestId, TestInstance, type FrameClient } from './testing/instance-client.ts';

/** One language's handlers. Each is a set of files and the handler's name. */
export interface ContractSubject {
  readonly plan: (runDirectory: string) => LaunchPlan;
  readonly workloads: {
    /** Answers `{event, requestId, memory, remaining}`: the event, and the context's request id, memory limit and remaining ms. Prints `seen EVENT`. */
    readonly echo: ContractWorkload;
    /** Fails with an error of type `TypeError` and message `no such thing`. */
    readonly fails: ContractWorkload;
    /** Fails while it is loaded. */
    readonly doesNotLoad: ContractWorkload;
    /** Never answers and leaves the process responsive. */
    readonly hangs: ContractWorkload;
    /** Makes `event.mib` MiB of garbage and answers. */
    readonly litters: ContractWorkload;
    /** Ends the process while it handles an event. */
    readonly exits: ContractWorkload;
  };
}

export interface ContractWorkload {
  readonly files: Readonly<Record<string, string>>;
  readonly handler: string;
}

export function runtimeContract(name: string, subject: ContractSubject): void {
  describe(`runtime contract: ${name}`, () => {
    let instance: TestInstance | undefined;
    afterEach(async () => {
      await instance?.dispose();
      instance = undefined;
    });

    async function started(workload: ContractWorkload): Promise<{
      instance: TestInstance;
      client: FrameClient;
      bind: () => ReturnType<TestInstance['bind']>;
    }> {
      const running = new TestInstance(subject.plan, workload.files);
      instance = running;
      const client = await running.client();
      return { instance: running, client, bind: () => running.bind(client, { handler: workload.handler }) };
    }

    async function bound(
      workload: ContractWorkload,
    ): Promise<{ instance: TestInstance; client: FrameClient }> {
      const { bind, ...rest } = await started(workload);
      expect(await bind()).toEqual({ is: 'bound' });
      return rest;
    }

    test('an unbound process answers pings and binds once', async () => {
      const { client, bind } = await started(subject.workloads.echo);
      const ping = client.send(frameType.ping);
      await client.frame((frame) => frame.type === frameType.pong && frame.id === ping);
      expect(await bind()).toEqual({ is: 'bound' });
      expect(await bind()).toMatchObject({ is: 'failed' });
    });

    test('an event is answered with the value, and its context is the one of the invocation', async () => {
      const { client } = await bound(subject.workloads.echo);
      const requestId = newRequestId();
      const answer = await client.invoke({ a: [1, 'ü'] }, { requestId, timeoutMs: 60_000 });
      expect(answer.outcome).toBe(outcome.ok);
      const value = answer.json() as { event: unknown; requestId: string; memory: number; remaining: number };
      expect(value).toMatchObject({ event: { a: [1, 'ü'] }, requestId, memory: 128 });
      expect(value.remaining).toBeGreaterThan(0);
      expect(value.remaining).toBeLessThanOrEqual(60_000);
      expect(answer.peakKib).toBeGreaterThan(0);
    });

    test('events that are queued are run one at a time, in order, and answered on the link they came from', async () => {
      const { instance: running, client } = await bound(subject.workloads.echo);
      const other = await running.client();
      const ids = Array.from({ length: 20 }, (_, index) => client.sendInvoke(index));
      const elsewhere = other.sendInvoke('other');
      const answers = await Promise.all(ids.map((id) => client.answerTo(id)));
      expect(answers.map((answer) => (answer.json() as { event: unknown }).event)).toEqual(
        ids.map((_, index) => index),
      );
      expect((await other.answerTo(elsewhere)).json()).toMatchObject({ event: 'other' });
      expect(
        client.frames.filter((frame) => frame.type === frameType.result).map((frame) => frame.id),
      ).toEqual(ids);
    });

    test('what comes before the bind and while code loads is run when it serves, which is said first', async () => {
      const { client, bind } = await started(subject.workloads.echo);
      const ids = [client.sendInvoke(1)];
      const binding = bind();
      ids.push(client.sendInvoke(2));
      expect(await binding).toEqual({ is: 'bound' });
      ids.push(client.sendInvoke(3));
      const answers = await Promise.all(ids.map((id) => client.answerTo(id)));
      expect(answers.map((answer) => (answer.json() as { event: unknown }).event)).toEqual([1, 2, 3]);
      const told = client.frames.filter(
        ({ type }) => type === frameType.serving || type === frameType.result,
      );
      expect(told.map(({ type }) => type)).toEqual([
        frameType.serving,
        frameType.result,
        frameType.result,
        frameType.result,
      ]);
    });

    test('what came early is not run when its link ended, or the code can not be loaded', async () => {
      const { instance: running, client, bind } = await started(subject.workloads.echo);
      const gone = await running.client();
      gone.sendInvoke('gone');
      const ping = gone.send(frameType.ping);
      await gone.frame((frame) => frame.type === frameType.pong && frame.id === ping);
      gone.socket.destroy();
      const after = client.send(frameType.ping);
      await client.frame((frame) => frame.type === frameType.pong && frame.id === after);
      expect(await bind()).toEqual({ is: 'bound' });
      expect((await client.invoke('here')).json()).toMatchObject({ event: 'here' });
      expect(running.output).not.toContain('seen "gone"');
      await running.dispose();

      const broken = await started(subject.workloads.doesNotLoad);
      const early = broken.client.sendInvoke('early');
      expect(await broken.bind()).toMatchObject({ is: 'failed' });
      await broken.instance.exited();
      await expect(broken.client.answerTo(early)).rejects.toThrow('closed');
      expect(broken.client.frames.some(({ type }) => type === frameType.serving)).toBe(false);
    });

    test('an error of the handler is answered in the shape of Lambda, and the next event is served', async () => {
      const { client } = await bound(subject.workloads.fails);
      for (let round = 0; round < 2; round += 1) {
        const answer = await client.invoke({});
        expect(answer.outcome).toBe(outcome.handled);
        expect(answer.json()).toMatchObject({
          errorType: 'TypeError',
          errorMessage: 'no such thing',
          trace: expect.any(Array) as unknown,
        });
      }
    });

    test('code that can not be loaded fails the bind with the reason, and the process ends', async () => {
      const { instance: running, bind } = await started(subject.workloads.doesNotLoad);
      const result = await bind();
      expect(result).toMatchObject({
        is: 'failed',
        error: {
          errorType: expect.any(String) as unknown,
          errorMessage: expect.stringMatching(/./) as unknown,
        },
      });
      expect(await running.exited()).not.toBe(0);
    });

    test('an event that is never answered leaves the process responsive until it is ended', async () => {
      const { client } = await bound(subject.workloads.hangs);
      const id = client.sendInvoke({}, { timeoutMs: 1 });
      const ping = client.send(frameType.ping);
      await client.frame((frame) => frame.type === frameType.pong && frame.id === ping);
      expect(client.frames.some((frame) => frame.id === id && frame.type === frameType.result)).toBe(false);
    });

    test('a handler that ends the process closes the link, and its output is kept', async () => {
      const { instance: running, client } = await bound(subject.workloads.exits);
      const id = client.sendInvoke({}, { requestId: newRequestId() });
      await expect(client.answerTo(id)).rejects.toThrow('closed');
      await running.exited();
      expect(running.output).toContain('START RequestId: ');
    });

    test('a trim gives memory back and says how much', async () => {
      const { client } = await bound(subject.workloads.litters);
      expect((await client.invoke({ mib: 40 })).outcome).toBe(outcome.ok);
      const id = client.send(frameType.trim);
      const answer = await client.frame((frame) => frame.type === frameType.trimmed && frame.id === id);
      const trimmed = JSON.parse(answer.payload.toString()) as TrimResult;
      expect(trimmed.afterBytes).toBeLessThan(trimmed.beforeBytes);
      expect(trimmed.pauseMs).toBeGreaterThan(0);
    });

    test('M-E5: a grant is acknowledged and the next context shows it', async () => {
      const { client } = await bound(subject.workloads.echo);
      const id = client.send(frameType.grant, JSON.stringify(grantOf(200, 2)));
      await client.frame((frame) => frame.type === frameType.grantAck && frame.id === id);
      expect((await client.invoke({})).json()).toMatchObject({ memory: 200 });
    });

    test('M-A3: an invocation that says another MemorySize than before is told that one, ahead of the notice', async () => {
      const { client } = await bound(subject.workloads.echo);
      expect((await client.invoke({}, { memoryMb: 512 })).json()).toMatchObject({ memory: 512 });
    });

    test('the log has START, the own lines, END and REPORT of each invocation, and the tail returns them', async () => {
      const { instance: running, client } = await bound(subject.workloads.echo);
      const requestId = newRequestId();
      const answer = await client.invoke('hello', { requestId, flags: invokeFlag.logTail });
      const lines = answer.logTail.split('\n');
      expect(lines[0]).toBe(`START RequestId: ${requestId} Version: $LATEST`);
      expect(lines[1]).toContain(`seen "hello"`);
      expect(lines[2]).toBe(`END RequestId: ${requestId}`);
      expect(lines[3]).toMatch(
        new RegExp(
          `^REPORT RequestId: ${requestId}\tDuration: [\\d.]+ ms\tBilled Duration: \\d+ ms\tMemory Size: 128 MB\tMax Memory Used: \\d+ MB\tInit Duration: [\\d.]+ ms`,
        ),
      );
      const second = await client.invoke('again', { flags: invokeFlag.logTail });
      expect(second.logTail).not.toContain('hello');
      expect(second.logTail).not.toContain('Init Duration');
      await expect.poll(() => running.output).toContain(second.logTail);
      expect((await client.invoke('quiet')).logTail).toBe('');
    });

    test('a shutdown lets what is queued end and exits with 0', async () => {
      const { instance: running, client } = await bound(subject.workloads.echo);
      const ids = [client.sendInvoke(1), client.sendInvoke(2)];
      client.send(frameType.shutdown);
      expect(await Promise.all(ids.map(async (id) => (await client.answerTo(id)).outcome))).toEqual([0, 0]);
      expect(await running.exited()).toBe(0);
    });

    test('a link that sends nonsense, or dies, does not disturb the others', async () => {
      const { instance: running, client } = await bound(subject.workloads.echo);
      const hostile = await running.client();
      hostile.socket.write(Buffer.alloc(64, 0xff));
      await expect.poll(() => hostile.closed).toBe(true);
      const dying = await running.client();
      dying.sendInvoke('unheard');
      dying.socket.destroy();
      expect((await client.invoke('heard')).json()).toMatchObject({ event: 'heard' });
    });
  });
}
