// The order in which files of one kind are run: where two run at a time, one that takes many minutes must not begin last. Owns only
// that; a clean clone has no times of earlier runs, which Vitest would go by.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Of the kind `machines`, by the closing lines of a run (./reporter.ts). The others take less than two minutes. */
const longest = ['vm-functions', 'vm-apps', 'vm-faults', 'vm-units'];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = longest.findIndex((name) => moduleId.includes(`/${name}.`));
      return at < 0 ? longest.length : at;
    };
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    return sorted.toSorted((one, other) => group(one) - group(other) || rank(one) - rank(other));
  }
}
