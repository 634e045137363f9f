import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { processActivity } from './process-activity.ts';

test('a process that was stopped does nothing and wants nothing; one that computes uses the processor; one that ended is not there', async () => {
  const child = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const pid = child.pid ?? 0;
  try {
    await expect.poll(() => processActivity(pid)?.cpuTicks, { timeout: 20_000 }).toBeGreaterThan(3);
    process.kill(pid, 'SIGSTOP');
    await expect.poll(() => processActivity(pid)?.wants, { timeout: 20_000 }).toBe(false);
    const { cpuTicks } = processActivity(pid) ?? {};
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(processActivity(pid)).toEqual({ cpuTicks, wants: false });
  } finally {
    process.kill(pid, 'SIGKILL');
  }
  await once(child, 'exit');
  expect(processActivity(pid)).toBeUndefined();
});
