// What the audit log says of virtual machines. Pure: words only; what happens to them is the fleet's matter.
import { humanBytes } from '../base/quantity.ts';
import type { UnitEvent } from '../protocol/unit.ts';
import type { AuditInput } from './audit.ts';

export function unitAudit({ unit, tenant, happened }: UnitEvent): AuditInput {
  const { what, ...facts } = happened;
  return {
    type: `unit.${what}`,
    ...(tenant === null ? {} : { tenant }),
    message: sentenceOf(unit, happened),
    data: { unit, ...facts },
  };
}

function sentenceOf(unit: string, happened: UnitEvent['happened']): string {
  switch (happened.what) {
    case 'provisioned':
      return `The virtual machine ${unit} is ready${happened.from === 'boot' ? ', booted' : ''} after ${Math.round(happened.durationMs)} ms.`;
    case 'claimed':
    case 'released': {
      const { beforeBytes, afterBytes, why } = happened;
      const moved = `${humanBytes(beforeBytes)} → ${humanBytes(afterBytes)} of memory are claimed of the virtual machine ${unit}`;
      return why === '' ? `${moved}.` : `${moved}: ${why}.`;
    }
    case 'lost': {
      const { instances, reason } = happened;
      const inside = instances.length === 0 ? 'nothing ran in it' : `${instances.length} ran in it`;
      return `The virtual machine ${unit} was lost, ${inside}: ${reason}.`;
    }
    case 'hibernated': {
      const { beforeBytes, afterBytes, storedBytes, durationMs, why } = happened;
      return (
        `The virtual machine ${unit} was hibernated in ${Math.round(durationMs)} ms, ${why}: ${humanBytes(beforeBytes)} → ` +
        `${humanBytes(afterBytes)} of the host's memory, ${humanBytes(storedBytes)} on disk.`
      );
    }
    case 'woken':
      return `The virtual machine ${unit} is awake again after ${Math.round(happened.durationMs)} ms: ${happened.why}.`;
    case 'moved': {
      const { pid, pauseMs, copiedBytes } = happened;
      return (
        `The virtual machine ${unit} goes on in process ${pid}: ${humanBytes(copiedBytes)} were copied, and nothing in it ran ` +
        `for ${Math.round(pauseMs)} ms.`
      );
    }
    case 'stopped':
      return `The virtual machine ${unit} was ended: ${happened.reason}.`;
  }
}
