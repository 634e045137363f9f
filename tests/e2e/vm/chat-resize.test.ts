// The example `chat` through 50 changes in a virtual machine: the same suite as on the host.
import { onVirtualMachines } from '../../support/units.ts';
import { chatResizeSuite } from '../suites/chat-resize.ts';

onVirtualMachines('the chat in a virtual machine', (units) => {
  chatResizeSuite(units, 50);
});
