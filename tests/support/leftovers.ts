// Ends what a Bellows left behind that could not stop in order, or was killed by its test: instances and machines outlive
// it by design, and would take memory and CPU from all tests after it. Does nothing where nothing is left.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { groupsNamed, loopDevices } from './kernel.ts';

/** A killed QEMU frees a gigabyte first, on a busy machine in seconds; groups can be removed only after that. */
const attempts = 300;

export async function endLeftovers(dataDirectory: string): Promise<void> {
  const name = createHash('sha256').update(dataDirectory).digest('hex').slice(0, 8);
  endProcesses(dataDirectory);
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const groups = groupsNamed(`bellows-${name}`).flatMap(withChildren);
    if (groups.length === 0) break;
    for (const group of groups) endAll(group);
    for (const group of groups) quietly(() => rmdirSync(group));
    await pause(100);
  }
  for (const device of readdirSync('/sys/class/net'))
    if (device.startsWith(`bw${name.slice(0, 6)}`)) quietly(() => run('ip', 'link', 'delete', device));
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  for (const mount of mounts.toReversed()) {
    const [, at = ''] = mount.split(' ');
    if (at.startsWith(`${dataDirectory}/`)) quietly(() => run('umount', '--lazy', at));
  }
  for (const { name: device, file } of loopDevices())
    if (file.startsWith(`${dataDirectory}/`)) quietly(() => run('losetup', '--detach', `/dev/${device}`));
}

/** Controller, gateway and agent go on without their supervisor, and would start anew what is ended below. */
function endProcesses(dataDirectory: string): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    quietly(() => {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (environment.includes(`"dataDirectory":"${dataDirectory}"`)) process.kill(Number(pid), 'SIGKILL');
    });
  }
}

/** Innermost first, as they can be removed. */
function withChildren(group: string): string[] {
  const children = readdirSync(group, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...children.flatMap(({ name }) => withChildren(join(group, name))), group];
}

function endAll(group: string): void {
  // What is frozen does not even end: of cgroup v1, and of v2.
  quietly(() => writeFileSync(join(group, 'freezer.state'), 'THAWED', { flag: 'r+' }));
  quietly(() => writeFileSync(join(group, 'cgroup.freeze'), '0', { flag: 'r+' }));
  quietly(() => {
    for (const pid of readFileSync(join(group, 'cgroup.procs'), 'utf8').split('\n'))
      if (pid !== '') quietly(() => process.kill(Number(pid), 'SIGKILL'));
  });
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: 'ignore' });
}

/** What is gone by itself meanwhile is no error. */
function quietly(work: () => void): void {
  try {
    work();
  } catch {
    // Looked at again in the next round, where that matters.
  }
}
