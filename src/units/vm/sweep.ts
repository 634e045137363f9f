// Ends every machine of a data directory, running or on disk, and removes all that was made for it: for a Bellows that is to
// have none. Needs neither QEMU nor an image. Owns the order; taking one apart is construct.ts's. Templates stay: they are a cache.
import { rmSync } from 'node:fs';
import { rootGroup } from '../../agent/groups.ts';
import { layoutOf } from '../../sys/layout.ts';
import { takeApart } from './construct.ts';
import { groundOf, type VmGround } from './host.ts';

/** Whoever owned them must be dead. What can not be removed is told, and found by its record the next time. */
export async function sweepUnits(options: VmGround['options']): Promise<void> {
  const { cgroup, dataDirectory, onDefect } = options;
  const ground = groundOf(options);
  const { records, network } = ground;
  // At once, and also those whose records can not be read.
  await cgroup.kill(rootGroup);
  await Promise.all(
    records.ids().map(async (id) => {
      const record = records.read(id);
      if (record === undefined) records.remove(id);
      else await takeApart(ground, record, null);
    }),
  );
  for (const place of (await network?.places()) ?? []) await network?.removeTap(place);
  try {
    await cgroup.remove(rootGroup);
  } catch (thrown) {
    onDefect(thrown, "the groups of units' processes");
  }
  if (records.ids().length > 0) return;
  await network?.close();
  rmSync(layoutOf(dataDirectory).unitRuns, { recursive: true, force: true });
}
