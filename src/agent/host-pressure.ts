// Tells whoever listens to a host's agent when memory has become short on the whole machine. Owns doing without where the
// kernel says nothing of it, or only to others: the controller looks at every tick as well.
import { systemClock } from '../base/clock.ts';
import type { Logger } from '../sys/log.ts';
import type { AgentEvent } from './agent.ts';
import { Pressure } from './pressure.ts';

/** For the rest of the process's life. */
export function tellHostPressure(emit: (event: AgentEvent) => void, log: Logger): void {
  const pressure = new Pressure({
    clock: systemClock,
    onPressure: (data) => emit({ event: 'hostPressure', data }),
  });
  try {
    pressure.open();
  } catch (thrown) {
    log.info(
      { err: thrown },
      'the kernel does not tell when memory becomes short; it is looked at now and then',
    );
  }
}
