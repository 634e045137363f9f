// Functions through the unmodified AWS SDK in virtual machines: the same suites as on the host.
// Not here: tags, signatures and who sees which function, which the API answers without a unit (../lambda-sdk.test.ts).
import { Functions } from '../../support/functions.ts';
import { onVirtualMachines } from '../../support/units.ts';
import { functionFaultsSuite } from '../suites/function-faults.ts';
import { functionLifeSuite } from '../suites/function-life.ts';

onVirtualMachines('functions in virtual machines', (units) => {
  const functions = new Functions(units);
  functionLifeSuite(units, functions);
  functionFaultsSuite(units, functions);
});
