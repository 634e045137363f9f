// The agent inside a virtual machine: every agent's calls, and those that only a guest is asked. Puts its parts together and
// owns what of an agent's calls is otherwise in here: no process before the unit has its identity, and code's places.
import { BellowsError } from '../../base/errors.ts';
import { systemClock } from '../../base/clock.ts';
import { doorPort } from '../../protocol/door.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { EventOf, Handlers } from '../../protocol/rpc.ts';
import { setClock } from '../../sys/clock.ts';
import type { Logger } from '../../sys/log.ts';
import { Agent } from '../agent.ts';
import type { AgentConfig } from '../config.ts';
import { Pressure } from '../pressure.ts';
import { setBandwidth } from './bandwidth.ts';
import { Claims } from './claims.ts';
import { CodeStore } from './code-store.ts';
import { Personaliser } from './personalise.ts';
import { identityFile } from './places.ts';
import { Storage } from './storage.ts';
import { Usable } from './usable.ts';

export interface GuestAgentOptions {
  readonly config: AgentConfig;
  /** Staged when the image was made; default: staged at the start. */
  readonly runtimeDirectory?: string;
  readonly log: Logger;
  readonly emit: (event: EventOf<GuestProtocol>) => void;
}

export class GuestAgent {
  readonly handlers: Handlers<GuestProtocol>;
  readonly #agent: Agent;
  readonly #code: CodeStore;
  readonly #personaliser: Personaliser;
  readonly #storage: Storage;
  readonly #claims: Claims;
  readonly #usable: Usable;
  readonly #pressure: Pressure;
  /** Asked for before there was an identity. */
  #poolSize = 0;

  constructor(options: GuestAgentOptions) {
    const { config, log, emit } = options;
    this.#storage = new Storage(config.dataDirectory);
    const agent = new Agent({
      ...options,
      clock: systemClock,
      trimDisk: () => this.#storage.trimWhatWasFreed(),
      emit: (event) => {
        // What is promised has become less or more.
        if (event.event === 'exited' || event.event === 'applied' || event.event === 'givenBack')
          this.#usable.refresh();
        emit(event);
      },
    });
    this.#agent = agent;
    this.#code = new CodeStore(config.dataDirectory, { admit: () => this.#storage.makeRoom() });
    this.#personaliser = new Personaliser({
      identityFile,
      door: {
        port: doorPort,
        endpointOf: (id) => agent.instances.find(id)?.endpoint,
        code: this.#code,
        log,
      },
      log,
      onPersonal: () => void agent.handlers.setPool({ size: this.#poolSize }),
    });
    const { cgroup, instances } = agent;
    this.#claims = new Claims({
      cgroup,
      clock: systemClock,
      storage: this.#storage,
      instances: () => instances.all(),
    });
    this.#pressure = new Pressure({
      clock: systemClock,
      onPressure: (data) => emit({ event: 'pressure', data }),
    });
    this.#usable = new Usable({
      cgroup,
      clock: systemClock,
      limits: () =>
        instances.all().map(({ cell, told }) => {
          const { memoryBytes } = cgroup.limits(cell.group);
          return memoryBytes === null ? null : Math.max(memoryBytes, told.memory);
        }),
      onShort: () => this.#pressure.tell('instances have come within what is usable of their limits'),
    });
    this.handlers = this.#handlers();
  }

  async open(): Promise<void> {
    this.#code.open();
    await this.#storage.open();
    await this.#agent.open();
    this.#usable.open();
    this.#pressure.open();
    await this.#personaliser.open();
  }

  async close(graceMs: number): Promise<void> {
    this.#personaliser.close();
    this.#usable.close();
    this.#pressure.close();
    await this.#agent.close(graceMs);
  }

  #handlers(): Handlers<GuestProtocol> {
    const { handlers } = this.#agent;
    const done = {};
    return {
      ...handlers,
      setPool: async ({ size }) => {
        this.#poolSize = size;
        // A process that ran before would say the same random numbers in every clone.
        return this.#personaliser.isPersonal ? handlers.setPool({ size }) : done;
      },
      start: async (spec) => {
        if (!this.#personaliser.isPersonal) throw noIdentity();
        const codeDirectory = this.#code.inside(spec.codeDirectory);
        return handlers.start({ ...spec, codeDirectory }).finally(() => this.#usable.refresh());
      },
      resize: (request) => handlers.resize(request).finally(() => this.#usable.refresh()),
      shutdown: async ({ graceMs }) => {
        await this.close(graceMs);
        return done;
      },
      personalise: async (identity) => ({ doorPort: await this.#personaliser.personalise(identity) }),
      rehearse: async () => {
        await this.#personaliser.rehearse();
        return done;
      },
      readClock: async () => ({ nowMs: Date.now() }),
      shiftClock: async ({ byMs }) => {
        setClock(Date.now() + byMs);
        return done;
      },
      identify: () => this.#claims.identify(),
      makeClaimable: ({ bytes }) => this.#claims.makeClaimable(bytes),
      setUsable: async ({ memoryBytes }) => {
        await this.#usable.set(memoryBytes);
        return done;
      },
      setStorage: ({ usableBytes }) => this.#storage.setUsable(usableBytes),
      setBandwidth: async ({ bytesPerSecond }) => {
        const device = this.#personaliser.userDevice;
        if (device === null) throw noIdentity();
        await setBandwidth(device, bytesPerSecond);
        return done;
      },
    };
  }
}

function noIdentity(): BellowsError {
  return new BellowsError('NotReady', 'This unit has no identity yet.', 'Call personalise first.');
}
