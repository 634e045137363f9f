// The example `chat` through 60 changes on this host.
import { HostUnits } from '../support/units.ts';
import { chatResizeSuite } from './suites/chat-resize.ts';

chatResizeSuite(new HostUnits(), 60);
