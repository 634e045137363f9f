// The gateways that serve together, each in a place of its own with sockets of its own: started, kept running, replaced, stopped.
// Owns their processes and which of them runs beside which. Does not own what they listen on (clear-the-way.ts), the order of
// an upgrade's steps (upgrade.ts), nor what is on record.
import { isAlive, sendSignal, type ProcessIdentity } from '../sys/process.ts';
import { SupervisedChild, type ChildEnd } from './child.ts';
import { wordPipeOf, type LaunchSpec } from './launch.ts';
import type { GatewayPlace } from './processes.ts';
import { end } from './take-over.ts';
import { leaveSignal, upgradeGateway, type Upgraded } from './upgrade.ts';

export interface GatewaysParts {
  /** For each gateway, the sockets that it accepts from. */
  readonly listening: readonly (readonly number[])[];
  /** Gateways of a supervisor before: they go on. */
  readonly beside: readonly ProcessIdentity[];
  /** Those of them that accept until all of ours do. */
  readonly former: readonly ProcessIdentity[];
  readonly launch: Pick<LaunchSpec, 'command' | 'args' | 'outputFd'>;
  readonly env: (place: GatewayPlace) => NodeJS.ProcessEnv;
  /** Another process is there, or one is not any more. */
  readonly onChange: () => void;
  readonly onEnd: (name: string, end: ChildEnd) => void;
  readonly logPath: string;
}

export class Gateways {
  readonly #parts: GatewaysParts;
  readonly #children: readonly SupervisedChild[];
  /** What is kept running, by place: also one that has just ended. */
  readonly #identities = new Map<number, ProcessIdentity>();
  /** Places whose gateway has said that it is ready, while there are former ones. */
  readonly #ready = new Set<number>();
  #former: readonly ProcessIdentity[];
  readonly #tookOver = Promise.withResolvers<void>();
  /** Gateways besides those that are kept running. */
  #beside: readonly ProcessIdentity[];

  constructor(parts: GatewaysParts) {
    this.#parts = parts;
    this.#beside = parts.beside;
    this.#former = parts.former;
    if (parts.former.length === 0) this.#tookOver.resolve();
    this.#children = parts.listening.map(
      (sockets, place) =>
        new SupervisedChild(
          {
            name: nameOf(place),
            ...parts.launch,
            listening: sockets,
            env: () => parts.env(this.#placeOf(place, this.#others(place), this.#mayBeServed)),
          },
          {
            onStart: (identity) => {
              this.#identities.set(place, identity);
              this.#awaitReady(place);
              parts.onChange();
            },
            onEnd: (how) => parts.onEnd(nameOf(place), how),
          },
        ),
    );
  }

  /** Those that are kept running, by place. */
  get identities(): readonly ProcessIdentity[] {
    return [...this.#identities].sort(([left], [right]) => left - right).map(([, identity]) => identity);
  }

  /** Those besides that run: replaced ones, which finish what they carry, or one that is to take over. */
  get beside(): ProcessIdentity[] {
    return this.#beside.filter(isAlive);
  }

  get children(): readonly SupervisedChild[] {
    return this.#children;
  }

  start(): void {
    for (const child of this.#children) child.start();
  }

  /**
   * Replaces each by the code on the disk, one after the other. @throws BellowsError UpgradeFailed when one does not get ready; it
   * and those in the places after it go on then
   */
  async upgrade(signal: AbortSignal): Promise<Upgraded[]> {
    const upgraded: Upgraded[] = [];
    try {
      for (const [place, gateway] of this.#children.entries()) {
        const done = await upgradeGateway({
          gateway,
          env: () => {
            const present = gateway.running?.identity;
            const others = [...this.#others(place), ...(present === undefined ? [] : [present])];
            return this.#parts.env(this.#placeOf(place, others, true));
          },
          onLaunched: (identity) => this.#setBeside([...this.beside, identity]),
          onLeaving: (identity) => this.#setBeside([...this.beside, identity]),
          logPath: this.#parts.logPath,
          signal,
        });
        this.#setBeside(this.beside.filter(({ pid }) => pid !== done.pid));
        upgraded.push(done);
      }
    } catch (thrown) {
      this.#setBeside(this.beside);
      throw thrown;
    }
    return upgraded;
  }

  /** Resolves when all are gone. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all([
      ...this.#children.map((child) => child.stop(graceMs)),
      ...this.beside.map((identity) => end('gateway', identity, graceMs)),
    ]);
  }

  /** Whether all of ours accept, and gateways of a supervisor before do not any more. */
  get hasTakenOver(): boolean {
    return this.#former.length === 0;
  }

  /** Resolves when they have taken over, or are not to any more. */
  untilTakenOver(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#tookOver.resolve());
    return this.#tookOver.promise;
  }

  /** The former ones serve until all of ours are ready, as at an upgrade. */
  #awaitReady(place: number): void {
    const launched = this.#children[place]?.running;
    if (this.hasTakenOver || launched === undefined) return;
    this.#ready.delete(place);
    wordPipeOf(launched.process)?.once('data', () => {
      this.#ready.add(place);
      if (this.#ready.size < this.#children.length) return;
      for (const identity of this.#former) sendSignal(identity, leaveSignal);
      this.#former = [];
      this.#tookOver.resolve();
    });
  }

  /** Whether who comes meanwhile is served by another gateway, when one starts. */
  get #mayBeServed(): boolean {
    return this.#children.length > 1 || !this.hasTakenOver;
  }

  /** All that run but the one in this place. */
  #others(place: number): ProcessIdentity[] {
    const serving = [...this.#identities].flatMap(([at, identity]) =>
      at !== place && isAlive(identity) ? [identity] : [],
    );
    return [...this.beside, ...serving];
  }

  /** @param whenReady one that starts alone accepts at once: there is nobody whose clients it could disappoint */
  #placeOf(index: number, beside: readonly ProcessIdentity[], whenReady: boolean): GatewayPlace {
    return { beside, whenReady, place: { index, of: this.#children.length } };
  }

  #setBeside(beside: readonly ProcessIdentity[]): void {
    this.#beside = beside;
    this.#parts.onChange();
  }
}

/** For people: the only one has no number. */
function nameOf(place: number): string {
  return place === 0 ? 'gateway' : `gateway ${place + 1}`;
}
