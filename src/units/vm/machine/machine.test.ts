import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { identify } from '../../../sys/process.ts';
import { ScriptedQmp } from '../testing/scripted-qmp.ts';
import { Machine } from './machine.ts';

describe('a running QEMU', () => {
  let qemu: ScriptedQmp;
  let child: ChildProcess;
  let machine: Machine | undefined;
  let lost: string[];
  let ports: boolean[];

  beforeEach(async () => {
    qemu = new ScriptedQmp();
    qemu.answers.set('query-status', () => ({ status: 'running', running: true }));
    qemu.answers.set('ringbuf-read', () => 'Kernel panic - not syncing');
    [lost, ports, machine] = [[], [], undefined];
    child = spawn('sleep', ['600']);
    await once(child, 'spawn');
  });
  afterEach(async () => {
    machine?.detach();
    child.kill('SIGKILL');
    await qemu.close();
  });

  const attach = async (): Promise<Machine> => {
    const process = identify(child.pid ?? 0);
    if (process === undefined) throw new Error('the process is gone');
    machine = await Machine.attach({
      name: 'unit u-1',
      runDirectory: qemu.directory,
      processes: { qemu: process, monitor: null },
      logFile: join(qemu.directory, 'log'),
      onSerialPort: (open) => ports.push(open),
      onLost: (reason) => lost.push(reason),
    });
    return machine;
  };

  test('its monitor may come a moment after the process', async () => {
    const attaching = attach();
    setTimeout(() => void qemu.listen(), 50);
    expect((await attaching).alive).toBe(true);
    qemu.event('VSERPORT_CHANGE', { id: 'agent', open: true });
    qemu.event('VSERPORT_CHANGE', { id: 'another', open: true });
    await expect.poll(() => ports).toEqual([true]);
  });

  test('a process that ends before its monitor listens did not start, and its own words say why', async () => {
    writeFileSync(join(qemu.directory, 'log'), 'qemu: could not open disk\n');
    const attaching = attach();
    const failed = expect(attaching).rejects.toThrow(
      expect.objectContaining({
        code: 'StartFailed',
        message: expect.stringContaining('could not open disk'),
      }),
    );
    child.kill('SIGKILL');
    await failed;
  });

  test('no memory for it is no room', async () => {
    writeFileSync(join(qemu.directory, 'log'), 'cannot set up guest memory "ram": Cannot allocate memory\n');
    const failed = expect(attach()).rejects.toThrow(expect.objectContaining({ code: 'NoRoom' }));
    child.kill('SIGKILL');
    await failed;
  });

  test('a process that is killed is lost, once', async () => {
    await qemu.listen();
    await attach();
    child.kill('SIGKILL');
    qemu.hangUp();
    await expect.poll(() => lost).toEqual([expect.stringContaining(`(${child.pid}) ended`)]);
    await expect(machine?.execute('stop', {})).rejects.toThrow(
      expect.objectContaining({ code: 'Unavailable' }),
    );
  });

  test('a guest that ends is lost with the reason and its last words, also when it had ended before', async () => {
    await qemu.listen();
    await attach();
    qemu.event('GUEST_PANICKED', { action: 'pause' });
    qemu.event('SHUTDOWN', { guest: true, reason: 'guest-panic' });
    await expect.poll(() => lost).toEqual([expect.stringMatching(/guest-panicked.*Kernel panic/)]);
    machine?.detach();
    lost.length = 0;
    qemu.answers.set('query-status', () => ({ status: 'shutdown', running: false }));
    await attach();
    await expect.poll(() => lost).toHaveLength(1);
  });

  test('a connection that breaks is made again while the process lives', async () => {
    await qemu.listen();
    await attach();
    qemu.hangUp();
    await expect
      .poll(() => qemu.received.filter(({ command }) => command === 'qmp_capabilities').length, {
        timeout: 8_000,
      })
      .toBe(2);
    await expect.poll(() => machine?.execute('query-status', {})).toMatchObject({ running: true });
    expect(lost).toEqual([]);
  });

  test('its end is asked for, and it is killed when it does not follow; that is no loss', async () => {
    await qemu.listen();
    const running = await attach();
    await running.end();
    expect(qemu.received.at(-1)?.command).toBe('quit');
    expect(running.alive).toBe(false);
    expect(lost).toEqual([]);
  });
});
