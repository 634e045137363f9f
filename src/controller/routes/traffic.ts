// What a gateway says that it carried since it said it last, by workload.
import type { GatewayProtocol } from '../../protocol/routes.ts';
import type { EventOf } from '../../protocol/rpc.ts';

export type Traffic = Extract<EventOf<GatewayProtocol>, { event: 'traffic' }>['data'];
