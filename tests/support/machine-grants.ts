// Whether what Bellows says of memory is so where every instance has a virtual machine for itself: the ledger adds up to what
// the machines' fleet holds them to, and to what QEMU reports of the balloons. A machine may be left less than was granted: what
// nothing inside uses is claimed on request, and given back before it is needed (src/units/fleet/unit-memory.ts). What guests'
// own kernels hold is asked inside (./guest-with-shell.ts), which costs seconds. Owns that comparison; when it is made is
// ./grant-samples.ts'.
import type { Held } from './grant-samples.ts';
import { compareLedger, Differences, memory, memoryLine, running, sum } from './ledger-sums.ts';
import { unitsOf } from './machines.ts';

/** As patient with emulated guests as ./units.ts: ten times the host's. What is wrong stays wrong. */
const settleMs = 50_000;

export const heldByMachines: Held = {
  settleMs,
  look: async (bellows) => {
    const [instances, units, line] = await Promise.all([
      running(bellows),
      unitsOf(bellows),
      memoryLine(bellows),
    ]);
    const differences = new Differences();
    const claimed = sum(units.map((unit) => memory(unit.claimed.memory)));
    const claimedInside = sum(instances.map((instance) => memory(instance.memory.claimed)));
    differences.compare('claimed', memory(line.claimed), claimed + claimedInside);
    const provisioned = sum(units.map((unit) => memory(unit.provisioned.memory)));
    differences.compare('provisioned', memory(line.provisioned), provisioned);
    for (const { id, unit: unitId, memory: own } of instances) {
      const unit = units.find((each) => each.id === unitId);
      if (unit === undefined) {
        differences.found.push(`${id} runs in ${unitId}, which is not there`);
        continue;
      }
      differences.compare(`granted in ${unitId}`, memory(unit.granted.memory), memory(own.grant));
    }
    const grants = new Map(instances.map(({ id, memory: own }) => [id, memory(own.grant)]));
    const bytes = compareLedger(differences, line, instances, grants);
    return { found: differences.found, bytes };
  },
};
