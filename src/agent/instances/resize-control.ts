// What a resize asks of instances, and tells them. Owns nothing: it finds the instance, or says what one that is gone has.
import type { InstanceId } from '../../base/ids.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import type { InstanceControl } from '../resize/control.ts';
import type { Sandbox } from '../sandbox/port.ts';
import type { Instance } from './instance.ts';

interface ControlParts {
  readonly find: (id: InstanceId) => Instance | undefined;
  readonly sandbox: Sandbox;
  readonly onGivenBack: (told: DataOf<'givenBack'>) => void;
  readonly onStrained: (told: DataOf<'strained'>) => void;
}

type AgentEvent = EventOf<AgentProtocol>;
type DataOf<Name extends AgentEvent['event']> = Extract<AgentEvent, { event: Name }>['data'];

export function instanceControl({ find, sandbox, onGivenBack, onStrained }: ControlParts): InstanceControl {
  return {
    describe: (id) => {
      const instance = find(id);
      return (
        instance && { tenant: instance.spec.tenant, workload: instance.spec.workload, grant: instance.told }
      );
    },
    announce: async (id, grant) => find(id)?.announce(grant),
    enforced: (id, grant, promisedBytes) => find(id)?.granted(grant, promisedBytes),
    givenBack: (id, { grant, desired }, why) => {
      find(id)?.givenBack(grant, desired);
      onGivenBack({ id, grant, why });
    },
    strained: (id, strained) => onStrained({ id, ...strained }),
    trim: async (id) => {
      await find(id)?.trim();
    },
    storageBytes: (id) => {
      const instance = find(id);
      return instance === undefined ? null : sandbox.storageBytes(instance.cell.slot);
    },
    resizeStorage: (id, storageBytes) => {
      const instance = find(id);
      return instance === undefined
        ? { is: 'applied' }
        : sandbox.resizeStorage(instance.cell.slot, storageBytes);
    },
    connections: (id) => find(id)?.connections ?? { open: 0, closedByClient: 0, closedByServer: 0 },
  };
}
