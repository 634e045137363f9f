// Functions, applications and frameworks in virtual machines: the suites that run on the host (lambda-sdk, chat-resize, apps,
// frameworks), over one Bellows, for under emulation its start alone takes most of a minute.
// Not here: tags, signatures and who sees which function, which the API answers without a unit (lambda-sdk.test.ts); that sockets
// are handed over, for the gateway is on the path of WebSockets into a machine (docs/guides/vm-units.md).
import { Functions } from '../support/functions.ts';
import { suitesInMachines } from '../support/units.ts';
import { appsSuite } from './suites/apps.ts';
import { chatResizeSuite } from './suites/chat-resize.ts';
import { frameworksSuite } from './suites/frameworks.ts';
import { functionFaultsSuite } from './suites/function-faults.ts';
import { functionLifeSuite } from './suites/function-life.ts';

suitesInMachines({
  'functions through the AWS SDK': (units) => {
    const functions = new Functions(units);
    functionLifeSuite(units, functions);
    functionFaultsSuite(units, functions);
  },
  'the example chat': (units) => chatResizeSuite(units, 50),
  apps: appsSuite,
  'handlers of frameworks': frameworksSuite,
});
