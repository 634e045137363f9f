// Handlers of well-known frameworks in virtual machines: the same suite as on the host.
import { onVirtualMachines } from '../../support/units.ts';
import { frameworksSuite } from '../suites/frameworks.ts';

onVirtualMachines('frameworks in virtual machines', (units) => {
  frameworksSuite(units);
});
