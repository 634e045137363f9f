// Functions in virtual machines: the suites that run on the host (lambda-sdk.test.ts), over one Bellows, for under emulation its start
// alone takes most of a minute.
// Not here: tags, signatures and who sees which function, which the API answers without a unit (lambda-sdk.test.ts).
import { Functions } from '../support/functions.ts';
import { suitesInMachines } from '../support/units.ts';
import { functionFaultsSuite } from './suites/function-faults.ts';
import { functionLifeSuite } from './suites/function-life.ts';

suitesInMachines({
  'functions through the AWS SDK': (units) => {
    const functions = new Functions(units);
    functionLifeSuite(units, functions);
    functionFaultsSuite(units, functions);
  },
});
