// Applications and frameworks in virtual machines: the suites that run on the host (chat-resize, apps, frameworks), over one Bellows.
// Not here: that sockets are handed over, for the gateway is on the path of WebSockets into a machine (docs/guides/vm-units.md).
import { suitesInMachines } from '../support/units.ts';
import { appsSuite } from './suites/apps.ts';
import { chatResizeSuite } from './suites/chat-resize.ts';
import { frameworksSuite } from './suites/frameworks.ts';

suitesInMachines({
  'the example chat': (units) => chatResizeSuite(units, 50),
  apps: appsSuite,
  'handlers of frameworks': frameworksSuite,
});
