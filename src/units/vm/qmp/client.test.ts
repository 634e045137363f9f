import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { refusal, ScriptedQmp } from '../testing/scripted-qmp.ts';
import { QmpClient } from './client.ts';
import type { QmpEvent } from './messages.ts';

describe('QEMU’s monitor', () => {
  let qemu: ScriptedQmp;
  let client: QmpClient | undefined;
  let events: QmpEvent[];
  let closed: number;

  beforeEach(async () => {
    qemu = new ScriptedQmp();
    [events, closed, client] = [[], 0, undefined];
    await qemu.listen();
  });
  afterEach(async () => {
    client?.close();
    await qemu.close();
  });

  const connected = async (greetingMs = 5_000): Promise<QmpClient> => {
    client = await QmpClient.connect(qemu.path, {
      name: 'QEMU of unit u-1',
      onEvent: (event) => events.push(event),
      onClose: () => (closed += 1),
      greetingMs,
    });
    return client;
  };
  const unavailable = (words: RegExp): unknown =>
    expect.objectContaining({ code: 'Unavailable', message: expect.stringMatching(words) });

  test('commands are answered whatever the order of the answers', async () => {
    const later: string[] = [];
    qemu.answers.set('query-balloon', () => ({ actual: 42, more: 'is not heeded' }));
    const qmp = await connected();
    const status = qmp.execute('query-status', {}).then((answer) => (later.push('status'), answer));
    expect(await qmp.execute('query-balloon', {})).toEqual({ actual: 42 });
    later.push('balloon');
    qemu.send(JSON.stringify({ return: { status: 'running', running: true }, id: 2 }));
    expect(await status).toEqual({ status: 'running', running: true });
    expect(later).toEqual(['balloon', 'status']);
  });

  test('a refusal is an error with QEMU’s words, and the next command is answered', async () => {
    qemu.answers.set('cont', () => refusal('Resetting the Virtual Machine is required'));
    qemu.answers.set('stop', () => ({}));
    const qmp = await connected();
    await expect(qmp.execute('cont', {})).rejects.toThrow(
      expect.objectContaining({ code: 'Conflict', message: expect.stringContaining('Resetting the') }),
    );
    await qmp.execute('stop', {});
  });

  test('events that are heeded are told, and others passed over', async () => {
    await connected();
    qemu.event('RTC_CHANGE', { offset: 78 });
    qemu.event('VSERPORT_CHANGE', { id: 'agent', open: true });
    qemu.event('SHUTDOWN', { guest: true, reason: 'guest-reset' });
    await expect
      .poll(() => events)
      .toEqual([
        { event: 'VSERPORT_CHANGE', data: { id: 'agent', open: true } },
        { event: 'SHUTDOWN', data: { guest: true, reason: 'guest-reset' } },
      ]);
  });

  test('a monitor that stops answering is an error within the deadline, and is given up', async () => {
    const qmp = await connected();
    const [first, second] = [qmp.execute('query-status', {}, 50), qmp.execute('stop', {})];
    const others = expect(second).rejects.toThrow(unavailable(/query-status within 50 ms/));
    await expect(first).rejects.toThrow(unavailable(/u-1.*query-status within 50 ms/));
    await others;
    expect(closed).toBe(1);
    await expect(qmp.execute('cont', {})).rejects.toThrow(unavailable(/cont was not sent/));
  });

  test('one that does not greet, or is not there, is an error', async () => {
    qemu.greeting = '';
    await expect(connected(50)).rejects.toThrow(unavailable(/greet within 50 ms/));
    await expect(QmpClient.connect(`${qemu.path}-no`, { name: 'QEMU' })).rejects.toThrow(
      unavailable(/ENOENT/),
    );
  });

  test('one that ends takes what waits with it', async () => {
    const qmp = await connected();
    const waiting = expect(qmp.execute('stop', {})).rejects.toThrow(unavailable(/monitor closed|ECONNRESET/));
    qemu.hangUp();
    await waiting;
    expect(closed).toBe(1);
  });

  test.each([
    ['no JSON', 'hello'],
    ['a message that is none of QEMU’s', '{"surprise": 1}'],
    ['an event of another shape', '{"event": "VSERPORT_CHANGE", "data": {"id": 3}}'],
  ])('%s ends the connection', async (_, text) => {
    const qmp = await connected();
    const waiting = expect(qmp.execute('stop', {})).rejects.toThrow(unavailable(/should not/));
    qemu.send(text);
    await waiting;
  });

  test('an answer of another shape is not taken', async () => {
    qemu.answers.set('query-balloon', () => ({ actual: 'much' }));
    const qmp = await connected();
    await expect(qmp.execute('query-balloon', {})).rejects.toThrow(/does not fit/);
  });
});
