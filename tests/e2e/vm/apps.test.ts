// Apps through the real port, in virtual machines: the same suite as on the host.
import { onVirtualMachines } from '../../support/units.ts';
import { appsSuite } from '../suites/apps.ts';

onVirtualMachines('apps in virtual machines', (units) => {
  appsSuite(units);
});
