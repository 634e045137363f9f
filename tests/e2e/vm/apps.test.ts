// Apps through the real port, in virtual machines: the same suite as on the host, but for what a machine can not have: there
// the gateway is on the path of WebSockets (docs/guides/vm-units.md).
import { onVirtualMachines } from '../../support/units.ts';
import { appsSuite } from '../suites/apps.ts';

onVirtualMachines('apps in virtual machines', (units) => {
  appsSuite(units);
});
