// The agent's process in a virtual machine: what src/agent/main.ts is on a host. It is started by the guest's init, which
// starts it again if it ends; instances outlive it. Owns reading the kernel's command line, and the end of the process.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { guestPortName } from '../../protocol/guest.ts';
import { createLogger } from '../../sys/log.ts';
import { agentConfig } from '../config.ts';
import { GuestAgent } from './guest-agent.ts';
import {
  guestCgroupRoot,
  guestDataDirectory,
  guestRuntimeDirectory,
  serialPortsDirectory,
} from './places.ts';
import { SerialServer } from './serial-server.ts';

process.title = 'bellows-agent';
const log = createLogger('agent');

/** `bellows.network=none` on the kernel's command line: what pooled processes are given. */
function networkOf(commandLine: string): string {
  return /(?:^|\s)bellows\.network=(\S+)/.exec(commandLine)?.[1] ?? 'host';
}

async function main(): Promise<void> {
  const config = agentConfig.parse({
    dataDirectory: guestDataDirectory,
    network: networkOf(readFileSync('/proc/cmdline', 'utf8')),
    cgroupRoot: guestCgroupRoot,
  });
  const server = new SerialServer({
    path: join(serialPortsDirectory, guestPortName),
    log,
    onError: (error) => fail(error),
  });
  const agent = new GuestAgent({
    config,
    // Without it, as in a checkout that was started in a guest by hand, it is staged on the scratch disk.
    ...(existsSync(guestRuntimeDirectory) ? { runtimeDirectory: guestRuntimeDirectory } : {}),
    log,
    emit: (event) => server.emit(event),
  });
  await agent.open();
  server.listen(agent.handlers);
  log.info('ready');
}

/** Init starts another, which adopts what runs. */
function fail(error: unknown): void {
  log.fatal({ err: error }, messageOf(error));
  process.exit(1);
}

main().catch(fail);
