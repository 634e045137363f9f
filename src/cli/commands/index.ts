// Every command, in the order that `bellows --help` shows.
import type { Command } from '../command.ts';
import { deleteWorkload } from './delete.ts';
import { deploy } from './deploy.ts';
import { doctor } from './doctor.ts';
import { events } from './events.ts';
import { gateways } from './gateways.ts';
import { hibernate } from './hibernate.ts';
import { invoke } from './invoke.ts';
import { ledger } from './ledger.ts';
import { limitsGet, limitsSet } from './limits.ts';
import { logs } from './logs.ts';
import { ps } from './ps.ts';
import { reclaim } from './reclaim.ts';
import { resize } from './resize.ts';
import { tenantsCreate, tenantsDelete, tenantsList } from './tenants.ts';
import { top } from './top.ts';
import { units } from './units.ts';
import { up } from './up.ts';
import { upgrade } from './upgrade.ts';
import { wake } from './wake.ts';
import { move } from './move.ts';

export const commands: readonly Command[] = [
  up,
  deploy,
  invoke,
  ps,
  top,
  resize,
  limitsGet,
  limitsSet,
  tenantsList,
  tenantsCreate,
  tenantsDelete,
  logs,
  events,
  reclaim,
  units,
  gateways,
  hibernate,
  wake,
  move,
  ledger,
  deleteWorkload,
  upgrade,
  doctor,
];
