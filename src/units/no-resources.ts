// Nothing of each resource: what a unit has claimed that can not claim. Owns the one value.
import type { Resources } from '../model/resources.ts';

export const noResources = { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } as Resources;
