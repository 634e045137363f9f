// Handlers of well-known frameworks on this host.
import { HostUnits } from '../support/units.ts';
import { frameworksSuite } from './suites/frameworks.ts';

frameworksSuite(new HostUnits());
