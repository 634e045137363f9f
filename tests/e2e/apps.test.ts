// Apps through the real port, on this host.
import { HostUnits } from '../support/units.ts';
import { appsSuite } from './suites/apps.ts';

appsSuite(new HostUnits());
