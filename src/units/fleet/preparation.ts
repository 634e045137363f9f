// What there must be before the first virtual machine: an accelerator, an image, a driver, and a template. Says how far it
// is, and tries again when it can not be had yet. Owns the order; each part makes itself.
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { detectCgroup } from '../../agent/cgroup/detect.ts';
import { messageOf } from '../../base/errors.ts';
import { layoutOf } from '../../sys/layout.ts';
import type { Logger } from '../../sys/log.ts';
import { QemuDriver } from '../vm/driver.ts';
import { guestImage } from '../vm/image/guest-image.ts';
import type { GuestImage } from '../vm/image/port.ts';
import { fleetCgroupRoot, startsAtOncePerCpu, type FleetConfig } from './config.ts';
import type { Fleet } from './fleet.ts';
import { chooseAccelerator } from './accelerator.ts';

/** A missing package or a full disk is not solved in a moment, and whoever solves it will not want to wait long. */
const retryMs = 15_000;
/** Progress is said no more often than it moves this much. */
const progressStep = 0.05;

/** Whether an earlier fleet left units that may be running. */
export function leftUnits(dataDirectory: string): boolean {
  const directory = layoutOf(dataDirectory).units;
  return existsSync(directory) && readdirSync(directory).length > 0;
}

/** Resolves when the fleet is open: units can be made, and those of an earlier fleet are its own. */
export async function prepareMachinery(config: FleetConfig, fleet: Fleet, log: Logger): Promise<void> {
  for (;;) {
    try {
      await prepare(config, fleet, log);
      return;
    } catch (thrown) {
      fleet.preparing(messageOf(thrown).replace(/\.$/, ''));
      log.error({ err: thrown }, 'There can be no virtual machines yet');
      await pause(retryMs);
    }
  }
}

async function prepare(config: FleetConfig, fleet: Fleet, log: Logger): Promise<void> {
  const tell = (what: string, progress: number): void => {
    fleet.preparing(what);
    log.info({ progress }, what);
  };
  const image = await imageFor(config.units.image, tell);
  const accelerator = await chooseAccelerator(config.units.accelerator, image, config.dataDirectory);
  tell(`Virtual machines run with ${accelerator.kind}: ${accelerator.why}`, 0.97);
  const { cgroup } = detectCgroup(fleetCgroupRoot(config.cgroupRoot));
  const driver = await QemuDriver.create({
    image,
    dataDirectory: config.dataDirectory,
    cgroup,
    accelerator,
    ownPort: config.port,
    ...(config.units.subnet === null ? {} : { subnet: config.units.subnet }),
    onDefect: (error, context) =>
      log.error({ err: error, context }, 'a virtual machine is not as it should be'),
  });
  const startsAtOnce = startsAtOncePerCpu[accelerator.kind] * availableParallelism();
  await fleet.open({ driver, cgroup, left: await driver.open(), startsAtOnce });
  tell('Booting a virtual machine once, to make clones of it', 0.98);
  // Not waited for: the pool's first clone asks for it, too, and says what is wrong when it can not be made.
  driver.prepareTemplate(config.units.size).then(
    () => tell('Virtual machines can be cloned', 1),
    (thrown: unknown) => log.warn({ err: thrown }, 'a template of virtual machines could not be made'),
  );
}

async function imageFor(
  ownDirectory: string | null,
  tell: (what: string, progress: number) => void,
): Promise<GuestImage> {
  let told = -1;
  return guestImage({
    ownDirectory,
    onProgress: ({ text, fraction }) => {
      if (fraction - told < progressStep && fraction < 1) return;
      told = fraction;
      tell(text, fraction * 0.95);
    },
  });
}
