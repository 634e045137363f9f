// What holds on the host holds in virtual machines: the same suites, over one Bellows, for under emulation its start alone takes
// most of a minute.
// Not here: tags, signatures and who sees which function, which the API answers without a unit (lambda-sdk.test.ts), and that
// sockets are handed over: the gateway is on the path of WebSockets into a machine (docs/guides/vm-units.md).
import { afterAll, describe } from 'vitest';
import { Functions } from '../support/functions.ts';
import { onVirtualMachines, type UnitsUnderTest } from '../support/units.ts';
import { appsSuite } from './suites/apps.ts';
import { chatResizeSuite } from './suites/chat-resize.ts';
import { frameworksSuite } from './suites/frameworks.ts';
import { functionFaultsSuite } from './suites/function-faults.ts';
import { functionLifeSuite } from './suites/function-life.ts';

const suites: Readonly<Record<string, (units: UnitsUnderTest) => void>> = {
  'the example chat': (units) => chatResizeSuite(units, 50),
  apps: appsSuite,
  'functions through the AWS SDK': (units) => {
    const functions = new Functions(units);
    functionLifeSuite(units, functions);
    functionFaultsSuite(units, functions);
  },
  'handlers of frameworks': frameworksSuite,
};

onVirtualMachines('in virtual machines', (units) => {
  describe.for(Object.entries(suites))('%s', ([, suite]) => {
    suite(units);
    // Its machines are the next one's room.
    afterAll(() => units.bellows.removeWorkloads(), units.within(30_000));
  });
});
