// What virtual machine units cost, each figure beside its peer of the same run: a clone beside a boot, a claim beside what
// the host's kernel then counts as free, reclaiming beside the same guest's own touching. Owns the order of the measurements
// and that nothing is left behind; a unit outlives its owner, so also when somebody stops the run.
import { setTimeout as sleep } from 'node:timers/promises';
import type { TenantId } from '../src/base/ids.ts';
import { humanBytes, mib } from '../src/base/quantity.ts';
import type { Resources } from '../src/model/resources.ts';
import type { QemuDriver } from '../src/units/vm/driver.ts';
import { qemuVersionOf } from '../src/units/vm/host.ts';
import { guestImage } from '../src/units/vm/image/guest-image.ts';
import type { VmUnit } from '../src/units/vm/port.ts';
import { probeAccelerator } from '../src/units/vm/probe.ts';
import { VmPlace } from '../tests/integration/vm-place.ts';
import { VmTenant } from '../tests/integration/vm-tenant.ts';
import { ms, percentile, times, type Bench, type Figure } from './figure.ts';

/** Small enough that eight that were booted stand beside eight clones on a laptop. */
const unitSize = {
  memory: 512 * mib,
  cpu: 1_000,
  storage: 256 * mib,
  bandwidth: 100_000_000,
} as Resources;
const pairs = 8;
/** Guests do their last work of a start, and report what is free, for some seconds. */
const settleMs = 5_000;
/**
 * All but what a Node process and its heap take besides. As much is claimed as was touched: of less, the guest's own
 * reports of free pages could be what came back.
 */
const touchedMib = 400;
const reclaims = 8;
const warmRequestsBetween = 5;
const unmeasuredRequests = 30;
/** Emulated, eight boots take two to three minutes on a machine that does nothing else. */
const deadlineMs = 590_000;

export const vm: Bench = {
  what: `${pairs} boots and ${pairs} clones of ${humanBytes(unitSize.memory)}, claims and releases`,
  run: async () => {
    const image = await guestImage({ ownDirectory: null });
    const accelerator = await probeAccelerator({ kernel: image.kernel });
    const place = await VmPlace.make({ image, accelerator });
    const driver = await place.driver();
    const stopped = Promise.withResolvers<never>();
    stopped.promise.catch(() => undefined);
    const stop = (signal: string): void => stopped.reject(new Error(`stopped by ${signal}`));
    const deadline = setTimeout(() => stop(`its deadline of ${deadlineMs} ms`), deadlineMs);
    process.on('SIGINT', stop).on('SIGTERM', stop);
    const units: VmUnit[] = [];
    const figures: Figure[] = [];
    let left: string[] = [];
    let measuring: Promise<Figure[]> | undefined;
    try {
      const emulated = accelerator.kind === 'tcg' ? 'emulated (TCG)' : 'KVM';
      const value = `${emulated}, QEMU ${await qemuVersionOf('qemu-system-x86_64')}`;
      figures.push({ name: 'accelerator', value });
      await driver.open();
      measuring = measure(place, driver, units);
      figures.push(...(await Promise.race([measuring, stopped.promise])));
    } finally {
      clearTimeout(deadline);
      process.off('SIGINT', stop).off('SIGTERM', stop);
      await Promise.allSettled(units.map((unit) => driver.destroy(unit)));
      // What is just being made is in no list; without its process that is over, and taken apart.
      await place.cgroup.kill([]);
      await measuring?.catch(() => undefined);
      await driver.close();
      left = place.leftovers();
      await place.remove();
    }
    const value = left.length === 0 ? 'nothing' : left.join(', ');
    return [...figures, { name: 'left on the host', value, aim: 'nothing', met: left.length === 0 }];
  },
};

async function measure(place: VmPlace, driver: QemuDriver, units: VmUnit[]): Promise<Figure[]> {
  await driver.prepareTemplate(unitSize);
  const { booted, clones, figures } = await bootsAndClones(place, driver, units);
  const unit = clones[0] as VmUnit;
  for (const other of [...booted, ...clones.slice(1)]) await driver.destroy(other);
  units.splice(0, units.length, unit);
  const tenant = await VmTenant.start(unit, {
    tenant: 'acme' as TenantId,
    index: 1,
    memoryBytes: unitSize.memory,
    storageBytes: 16 * mib,
  });
  return [
    ...figures,
    ...(await claimsAndReleases(driver, unit, tenant)),
    ...(await firstRequests(driver, unit, tenant)),
  ];
}

/** In turn, so that both meet the same machine. */
async function bootsAndClones(
  place: VmPlace,
  driver: QemuDriver,
  units: VmUnit[],
): Promise<{ booted: VmUnit[]; clones: VmUnit[]; figures: Figure[] }> {
  const booted: VmUnit[] = [];
  const clones: VmUnit[] = [];
  for (let pair = 0; pair < pairs; pair += 1) {
    for (const [made, make] of [
      [booted, driver.boot.bind(driver)],
      [clones, driver.provision.bind(driver)],
    ] as const) {
      const unit = await make(place.newId(), unitSize);
      units.push(unit);
      made.push(unit);
    }
  }
  const answerMs = (all: VmUnit[]): number =>
    percentile(
      all.map((unit) => driver.provisionReport(unit)?.firstAnswerMs ?? NaN),
      0.5,
    );
  await sleep(settleMs);
  const privateBytes = (all: VmUnit[]): number =>
    all.reduce((sum, unit) => sum + driver.measure(unit).hostPrivateBytes, 0);
  const [bootMs, cloneMs] = [answerMs(booted), answerMs(clones)];
  const [bootBytes, cloneBytes] = [privateBytes(booted), privateBytes(clones)];
  return {
    booted,
    clones,
    figures: [
      { name: 'boot to the first answer, p50', value: ms(bootMs) },
      { name: 'clone to the first answer, p50', value: ms(cloneMs) },
      {
        name: 'boot / clone',
        value: times(bootMs / cloneMs),
        aim: '>= 40 ×',
        met: bootMs / cloneMs >= 40,
      },
      { name: `private memory of ${pairs} boots`, value: humanBytes(bootBytes) },
      { name: `private memory of ${pairs} clones`, value: humanBytes(cloneBytes) },
      share('clones / boots, private memory', cloneBytes / bootBytes, '<=', 0.5),
    ],
  };
}

/** Of garbage: what its process once touched and does not need. */
async function claimsAndReleases(driver: QemuDriver, unit: VmUnit, tenant: VmTenant): Promise<Figure[]> {
  const touchedBytes = touchedMib * mib;
  const touchMs = Number(
    await tenant.evaluate(`
      const startedMs = performance.now();
      state.held = Array.from({ length: ${touchedMib} }, () => Buffer.alloc(${mib}, 1));
      performance.now() - startedMs`),
  );
  await tenant.evaluate('delete state.held');
  const fullBytes = driver.measure(unit).hostPrivateBytes;
  const claim = await driver.claimMemory(unit, touchedBytes);
  const freedBytes = fullBytes - driver.measure(unit).hostPrivateBytes;

  const releasing = performance.now();
  await driver.releaseMemory(unit, claim.claimedBytes);
  const releaseMs = performance.now() - releasing;
  const { freeBytes } = await unit.guest.call('identify', {});
  const usableMs = performance.now() - releasing;
  if (freeBytes < claim.claimedBytes / 2)
    throw new Error(
      `${humanBytes(claim.claimedBytes)} were released, and the guest has ${humanBytes(freeBytes)}`,
    );

  const [touchRate, reclaimRate] = [touchedBytes / touchMs, claim.claimedBytes / claim.durationMs];
  return [
    {
      name: 'touched, then claimed',
      value: `${humanBytes(touchedBytes)}, ${humanBytes(claim.claimedBytes)}`,
    },
    share('freed on the host / claimed', freedBytes / claim.claimedBytes, '>=', 0.95),
    { name: 'rate of touching, by the guest', value: `${humanBytes(Math.round(touchRate * 1000))}/s` },
    {
      name: 'rate of reclaiming, trimming included',
      value: `${humanBytes(Math.round(reclaimRate * 1000))}/s`,
    },
    ...claim.steps.map(({ step, durationMs }) => ({
      name: `  of that trimming: ${step}`,
      value: ms(durationMs),
    })),
    share('reclaiming / touching', reclaimRate / touchRate, '>=', 0.5),
    { name: 'emergency release, until QEMU has deflated', value: ms(releaseMs) },
    { name: 'emergency release, until the guest says it has it', value: ms(usableMs) },
  ];
}

/** As the owner does it for a coming invocation: releases while the request is on its way. */
async function firstRequests(driver: QemuDriver, unit: VmUnit, tenant: VmTenant): Promise<Figure[]> {
  const request = async (): Promise<number> => {
    const began = performance.now();
    await tenant.evaluate('1 + 1');
    return performance.now() - began;
  };
  // An emulated processor first translates the code that it has not met.
  for (let count = 0; count < unmeasuredRequests; count += 1) await request();
  const warm: number[] = [];
  const first: number[] = [];
  let claimedBytes = 0;
  for (let count = 0; count < reclaims; count += 1) {
    for (let each = 0; each < warmRequestsBetween; each += 1) warm.push(await request());
    ({ claimedBytes } = await driver.claimMemory(unit, unitSize.memory));
    const released = driver.releaseMemory(unit, claimedBytes);
    first.push(await request());
    await released;
  }
  const [warmMs, firstMs] = [percentile(warm, 0.5), percentile(first, 0.5)];
  return [
    { name: 'a warm request, p50', value: ms(warmMs) },
    { name: `the first after a claim of ${humanBytes(claimedBytes)}, p50`, value: ms(firstMs) },
    { name: '  that is more', value: `${ms(firstMs - warmMs)}, ${times(firstMs / warmMs)}` },
  ];
}

function share(name: string, value: number, direction: '<=' | '>=', aim: number): Figure {
  return {
    name,
    value: `${(value * 100).toFixed(1)} %`,
    aim: `${direction} ${aim * 100} %`,
    met: direction === '<=' ? value <= aim : value >= aim,
  };
}
