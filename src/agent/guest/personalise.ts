// Makes a clone a unit of its own before user code runs in it: randomness, clock, host name, network, door. Owns the order,
// and that it happens once. Each step is in its own file.
//
//   nobody ──personalise──▶ someone (the same again: nothing to do; somebody else: Conflict)
//    └──rehearse──▶ nobody
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import { identity, type Identity } from '../../protocol/guest.ts';
import { setClock } from '../../sys/clock.ts';
import { seedKernel, seedOpenSsl } from '../../sys/random.ts';
import type { Logger } from '../../sys/log.ts';
import { Door, type DoorOptions } from './door.ts';
import { readIdentity, writeIdentity, type KeptIdentity } from './identity-store.ts';
import { clearNetwork, noNetwork, relayOwnPort, setNetwork, userDeviceOf } from './network.ts';

/** What a seed must bring, as the protocol says. */
const minSeedBytes = 64;
const hostNameFile = '/proc/sys/kernel/hostname';

export interface PersonaliserOptions {
  readonly identityFile: string;
  readonly door: Omit<DoorOptions, 'token'>;
  readonly log: Logger;
  /** This unit is somebody now: what must not be shared between clones may start. */
  readonly onPersonal: () => void;
}

export class Personaliser {
  readonly #options: PersonaliserOptions;
  #kept: KeptIdentity | undefined;
  #becoming: Promise<void> | undefined;
  #door: Door | undefined;
  #ownPort: Server | undefined;

  constructor(options: PersonaliserOptions) {
    this.#options = options;
  }

  get isPersonal(): boolean {
    return this.#kept !== undefined;
  }

  /** The device that leads out; null until this unit is somebody. */
  get userDevice(): string | null {
    return this.#kept === undefined ? null : userDeviceOf(this.#kept.network);
  }

  /** Is who an earlier agent of the same boot was told to be. */
  async open(): Promise<void> {
    const kept = readIdentity(this.#options.identityFile);
    if (kept !== undefined) await this.#serve(kept);
  }

  /** Returns the door's port. @throws BellowsError Conflict, BadRequest */
  async personalise({ seed, nowMs, ...wanted }: Identity): Promise<number> {
    // Asked twice at once, after a lost link: the second sees what the first made.
    await this.#becoming?.catch(() => undefined);
    if (this.#kept === undefined) {
      this.#becoming = this.#become(wanted, Buffer.from(seed, 'base64'), nowMs);
      await this.#becoming;
    } else if (!isSame(this.#kept, wanted)) {
      throw new BellowsError('Conflict', `This unit is ${this.#kept.unit} already.`);
    }
    return this.#door?.port ?? this.#options.door.port;
  }

  /**
   * Becomes somebody whom nobody knows, and nobody again. What is run for the first time is compiled, and its pages are read:
   * in an emulated guest that is most of what takes time. @throws BellowsError Conflict
   */
  async rehearse(): Promise<void> {
    if (this.#kept !== undefined || this.#becoming !== undefined)
      throw new BellowsError('Conflict', `This unit is ${this.#kept?.unit ?? 'becoming somebody'} already.`);
    const { identityFile, ...options } = this.#options;
    const file = `${identityFile}.rehearsal`;
    const nobody = new Personaliser({ ...options, identityFile: file, onPersonal: () => undefined });
    const hostName = readFileSync(hostNameFile);
    try {
      const somebody: Identity = {
        unit: 'nobody' as UnitId,
        seed: randomBytes(minSeedBytes).toString('base64'),
        nowMs: Date.now(),
        doorToken: randomBytes(minSeedBytes).toString('base64url'),
        network: noNetwork(),
        // Any that is free.
        ownPort: 0,
      };
      // As what comes over the link is: a schema makes its code when it is first used.
      await nobody.personalise(identity.parse(somebody));
    } finally {
      nobody.close();
      clearNetwork();
      writeFileSync(hostNameFile, hostName);
      rmSync(file, { force: true });
    }
  }

  close(): void {
    this.#door?.close();
    this.#ownPort?.close();
  }

  async #become(wanted: KeptIdentity, seed: Buffer, nowMs: number): Promise<void> {
    if (seed.length < minSeedBytes)
      throw new BellowsError('BadRequest', `A seed has at least ${minSeedBytes} bytes, not ${seed.length}.`);
    // First of all: until then this machine says the same random numbers as its siblings.
    seedKernel(seed);
    seedOpenSsl(seed);
    seed.fill(0);
    setClock(nowMs);
    writeFileSync(hostNameFile, wanted.unit);
    setNetwork(wanted.network);
    // Before anybody knows it: an agent that is killed now is followed by one that knows who it is.
    writeIdentity(this.#options.identityFile, wanted);
    await this.#serve(wanted);
  }

  async #serve(kept: KeptIdentity): Promise<void> {
    const { door, log } = this.#options;
    this.#door ??= await Door.open({ ...door, token: kept.doorToken });
    this.#kept = kept;
    if (kept.ownPort !== null) {
      this.#ownPort = await relayOwnPort(kept.ownPort).catch((thrown: unknown) => {
        // An instance that an earlier agent started may have taken it: everything else works without.
        log.error({ err: thrown }, `Bellows can not be reached from in here: ${messageOf(thrown)}`);
        return undefined;
      });
    }
    this.#options.onPersonal();
  }
}

function isSame(one: KeptIdentity, other: KeptIdentity): boolean {
  return (
    one.unit === other.unit &&
    one.doorToken === other.doorToken &&
    one.ownPort === other.ownPort &&
    one.network?.address === other.network?.address &&
    one.network?.mac === other.network?.mac
  );
}
