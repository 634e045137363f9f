// What has to hold while tenants' limits, requests and work rise and fall, whatever a test does meanwhile: clients of all apps
// lose nothing, apps go on in the same processes, and what is granted is what is held. Owns watching that, and asserting it.
import { expect } from 'vitest';
import { NumberedSockets } from './numbered-sockets.ts';
import type { GrantSamples, SamplesAccount } from './grant-samples.ts';
import type { SharingTenant } from './sharing-tenants.ts';

export interface Watched {
  readonly tenants: readonly SharingTenant[];
  readonly samples: GrantSamples;
  readonly everyMs: number;
  /** Of the clients of each tenant's app. */
  readonly socketsEach: number;
  readonly messagesPerSecondEach: number;
}

/** @param what for the line that says what was seen */
export async function throughout(
  what: string,
  { tenants, samples, everyMs, socketsEach, messagesPerSecondEach }: Watched,
  body: () => Promise<void>,
): Promise<SamplesAccount> {
  const before = await Promise.all(tenants.map(async (tenant) => tenant.app()));
  const clients = await Promise.all(
    tenants.map(async ({ socketUrl }) => NumberedSockets.open(socketUrl, socketsEach)),
  );
  try {
    const ports = clients.map(({ localPorts }) => localPorts);
    for (const each of clients) each.start(messagesPerSecondEach);
    samples.start(everyMs);
    await body();
    const seen = await samples.stop();
    const accounts = await Promise.all(clients.map(async (each) => each.stop()));
    console.log(`${what}: ${JSON.stringify(seen)}; sockets ${JSON.stringify(accounts)}`);
    for (const account of accounts)
      expect(account).toMatchObject({ lost: 0, doubled: 0, reordered: 0, closes: 0 });
    expect(clients.map(({ localPorts }) => localPorts)).toEqual(ports);
    expect(seen.wrong).toEqual([]);
    expect(seen.samples).toBeGreaterThan(5);
    const after = await Promise.all(tenants.map(async (tenant) => tenant.app()));
    expect(after.map(({ id, pid }) => ({ id, pid }))).toEqual(before.map(({ id, pid }) => ({ id, pid })));
    return seen;
  } finally {
    await samples.stop();
    for (const each of clients) each.close();
  }
}
