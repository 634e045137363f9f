// How closely instances can be packed: what reclaim leaves of idle ones, and how many warm ones a budget of memory holds.
// Garbage-heavy functions of real packages (bench/density), on the host unit; memory is the kernel's own word.
import { Bellows } from '../tests/support/bellows.ts';
import { heldFigures, memoryMib } from './density/held.ts';
import { idleFigures } from './density/idle.ts';
import { archivesOf, kinds } from './density/suite.ts';
import type { Bench } from './figure.ts';

/** None ends for want of calls while it is looked at. */
const keepAliveSeconds = 3_600;
/** MemorySize of the functions whose idle memory is looked at: what work of this kind is commonly given. */
const idleMemoryMib = 512;

export const density: Bench = {
  what: `${kinds.join(', ')}: memory of idle instances, and warm instances in a budget`,
  run: async () => {
    const bellows = await Bellows.start({
      args: ['--no-examples', '--unit', 'host', '--keep-alive', String(keepAliveSeconds)],
    });
    try {
      return [
        ...(await idleFigures(bellows, await archivesOf(idleMemoryMib))),
        ...(await heldFigures(bellows, await archivesOf(memoryMib))),
      ];
    } finally {
      await bellows.stop();
    }
  },
};
