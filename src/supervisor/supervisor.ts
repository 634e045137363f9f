// What `bellows up` runs: one data directory's agent, controller and gateway, started, kept running, stopped in order.
// Owns their processes, their log and what is on record of them. Does not own what a person is told after that (src/cli).
//
//   starting ──healthy──▶ serving ──stop──▶ stopping ──▶ stopped
//       │                                      ▲   │
//       └──────────────does not get ready──────┘   └──stop again──▶ the same, without patience
import { closeSync } from 'node:fs';
import { messageOf } from '../base/errors.ts';
import type { NetworkMode } from '../model/workload.ts';
import type { FileLock } from '../sys/file-lock.ts';
import type { GatewayConfig } from '../gateway/config.ts';
import type { Layout } from '../sys/layout.ts';
import { identify, isAlive, type ProcessIdentity } from '../sys/process.ts';
import type { FleetConfig } from '../units/fleet/config.ts';
import { endInstancesNow, shutDownAgent } from './agent-shutdown.ts';
import { SupervisedChild, type ChildEnd } from './child.ts';
import { clearTheWay, type Found } from './clear-the-way.ts';
import { isDeleted, lockDataDirectory, prepareDataDirectory, wasDeleted } from './data-directory.ts';
import { humanLine } from './human-line.ts';
import { LogFile } from './log-file.ts';
import { ControlServer } from './control.ts';
import { environmentOf, programOf, type Program } from './processes.ts';
import { waitUntilHealthy } from './readiness.ts';
import {
  childNames,
  removeEndpoint,
  removeProcesses,
  writeEndpoint,
  writeProcesses,
  type ChildName,
  type ProcessRecord,
} from './records.ts';
import { end } from './take-over.ts';
import { upgradeGateway, type Upgraded } from './upgrade.ts';

/** How long each step of an orderly stop may take before the next begins. */
const graceMs = {
  /** Its own patience with running requests is 10 s (src/gateway/config.ts). */
  gateway: 12_000,
  controller: 5_000,
  /** What instances are given, as container engines give. */
  instances: 10_000,
  /** The agent itself, once its instances are gone. */
  agent: 5_000,
  /** The same when it ends them by itself, machines too. */
  agentWithInstances: 40_000,
} as const;
/** The same when a person insists. */
const forcedMs = 1_000;
/** A process that ended so often before all was ready will not get ready by itself. */
const maxEndsAtStart = 5;

export interface SupervisorOptions {
  readonly dataDirectory: string;
  readonly port: number;
  readonly host: string;
  readonly network: NetworkMode;
  /** Where TLS is served too, and by which certificate; undefined for nowhere. */
  readonly tls?: GatewayConfig['tls'];
  /** Addresses and networks of proxies whose word of a client is taken. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** How slowly a request's body may come; undefined leaves it to the gateway. */
  readonly bodyFloor?: GatewayConfig['bodyFloor'];
  /** The most warm processes that are kept ready; undefined leaves it to the controller. */
  readonly poolMaximum?: number | undefined;
  /** How long an idle instance of a function stays; undefined leaves it to the controller. */
  readonly keepAliveMs?: number | undefined;
  /** The most memory that is granted in all; undefined leaves it to the controller. */
  readonly memoryBytes?: number | undefined;
  /** Virtual machines, and what they are like; null where instances are processes of this machine. */
  readonly units?: FleetConfig['units'] | null;
  /** How long a gateway that was replaced may go on with what it carries; undefined: as long as that lasts. */
  readonly leavingMs?: number | undefined;
  /** Shows every log line, not only those for people. */
  readonly verbose: boolean;
  /** One line for the person at the terminal. */
  readonly say: (line: string) => void;
  readonly programs?: (name: ChildName) => Program;
  readonly shutDownInstances?: (socketPath: string, graceMs: number) => Promise<void>;
  readonly endInstancesNow?: (socketPath: string) => Promise<void>;
}

export class Supervisor {
  readonly layout: Layout;
  /** Where a client on this machine reaches it. */
  readonly url: string;
  readonly #options: SupervisorOptions;
  readonly #lock: FileLock;
  readonly #log: LogFile;
  readonly #children: Readonly<Record<ChildName, SupervisedChild>>;
  readonly #identities = new Map<ChildName, ProcessIdentity>();
  /** The ports' listening sockets. */
  readonly #listening: readonly number[];
  /** Gateways besides the one that is kept running. */
  #beside: ProcessIdentity[];
  readonly #control: ControlServer;
  /** The upgrade under way, or the last one: one follows the other. */
  #upgrade: Promise<unknown> = Promise.resolve();
  readonly #stopped = new AbortController();
  #stopping: Promise<void> | undefined;
  #forced = false;
  #endingInstances = false;

  /** Starts everything; resolves when it serves. @throws BellowsError that says what is in the way; nothing is left then */
  static async start(
    options: SupervisorOptions,
    onCreated: (supervisor: Supervisor) => void,
  ): Promise<Supervisor> {
    const layout = prepareDataDirectory(options.dataDirectory);
    const lock = lockDataDirectory(layout);
    let found: Found;
    try {
      found = await clearTheWay(layout, options);
    } catch (thrown) {
      lock.release();
      throw thrown;
    }
    const supervisor = new Supervisor(layout, lock, found, options);
    onCreated(supervisor);
    try {
      await supervisor.#run();
    } catch (thrown) {
      await supervisor.stop();
      throw thrown;
    }
    return supervisor;
  }

  private constructor(layout: Layout, lock: FileLock, found: Found, options: SupervisorOptions) {
    this.layout = layout;
    this.url = urlOf(options.host, options.port);
    this.#options = options;
    this.#lock = lock;
    const { portFd, tlsFd } = found;
    this.#listening = tlsFd === undefined ? [portFd] : [portFd, tlsFd];
    this.#beside = found.beside;
    this.#control = new ControlServer(layout.supervisorSocket, () => this.upgrade());
    this.#log = new LogFile(layout.logs, (line) => this.#show(line));
    const units = options.units ?? null;
    const env = (): NodeJS.ProcessEnv =>
      environmentOf(layout, { ...options, units }, { beside: this.#beside, whenReady: false });
    const make = (name: ChildName): SupervisedChild => {
      const program = options.programs?.(name) ?? programOf(name, units !== null);
      return new SupervisedChild(
        {
          name,
          ...program,
          env,
          outputFd: this.#log.fd,
          listening: name === 'gateway' ? this.#listening : undefined,
        },
        { onStart: (identity) => this.#started(name, identity), onEnd: (end) => this.#ended(name, end) },
      );
    };
    this.#children = { agent: make('agent'), controller: make('controller'), gateway: make('gateway') };
  }

  get logPath(): string {
    return this.#log.path;
  }

  /**
   * Runs the code that is on the disk now as the gateway. No connection is refused, closed or lost for it.
   * @throws BellowsError UpgradeFailed when it does not get ready; the gateway before goes on then
   */
  upgrade(): Promise<Upgraded> {
    const { gateway } = this.#children;
    const { layout } = this;
    const units = this.#options.units ?? null;
    const next = this.#upgrade.then(async () => {
      const upgraded = await upgradeGateway({
        gateway,
        env: () => {
          const present = gateway.running?.identity;
          const beside = [...this.#alive(), ...(present === undefined ? [] : [present])];
          return environmentOf(layout, { ...this.#options, units }, { beside, whenReady: true });
        },
        onLaunched: (identity) => this.#setBeside([...this.#alive(), identity]),
        onLeaving: (identity) => this.#setBeside([...this.#alive(), identity]),
        logPath: this.logPath,
        signal: this.#stopped.signal,
      });
      this.#setBeside(this.#alive().filter(({ pid }) => pid !== upgraded.pid));
      this.#note(30, `The gateway was upgraded: process ${upgraded.pid} serves.`);
      return upgraded;
    });
    this.#upgrade = next.catch((thrown: unknown) => {
      this.#setBeside(this.#alive());
      this.#note(50, messageOf(thrown));
    });
    return next;
  }

  /**
   * Ends all of it: the gateway lets what runs finish, the controller goes so that it starts nothing any more, the agent
   * ends the instances. Called again, it has no patience. Resolves when nothing is left.
   */
  stop(): Promise<void> {
    if (this.#stopping === undefined) this.#stopping = this.#stop();
    else this.#forced = true;
    if (this.#forced) this.#hurry();
    return this.#stopping;
  }

  async #run(): Promise<void> {
    await this.#control.listen();
    for (const name of childNames) this.#children[name].start();
    await waitUntilHealthy(this.url, () => this.#whyNotReady());
    // What was said on the way comes before what is said next.
    this.#log.flush();
    if (this.#stopping === undefined) writeEndpoint(this.layout.root, { url: this.url });
  }

  async #stop(): Promise<void> {
    const { agent, controller, gateway } = this.#children;
    this.#stopped.abort();
    await this.#control.close();
    await this.#upgrade;
    await Promise.all([
      gateway.stop(this.#patience(graceMs.gateway)),
      ...this.#alive().map((identity) => end('gateway', identity, this.#patience(graceMs.gateway))),
    ]);
    // Only now: until then it accepts nobody, and whoever waits would wait for nobody.
    for (const fd of this.#listening) closeSync(fd);
    await controller.stop(this.#patience(graceMs.controller));
    await this.#endInstances();
    await agent.stop(this.#patience(graceMs.agent));
    if (isDeleted(this.layout)) this.#note(50, wasDeleted(this.layout));
    removeProcesses(this.layout);
    removeEndpoint(this.layout.root);
    this.#log.close();
    this.#lock.release();
  }

  /** A second wish to stop: what is being waited for is ended now; steps to come have little patience. */
  #hurry(): void {
    const { controller, gateway } = this.#children;
    for (const child of [gateway, controller]) void child.stop(forcedMs);
    if (!this.#endingInstances) return;
    const endNow = this.#options.endInstancesNow ?? endInstancesNow;
    endNow(this.layout.agentSocket).catch((thrown: unknown) => this.#noteFailedEnd(thrown));
  }

  #patience(normalMs: number): number {
    return this.#forced ? forcedMs : normalMs;
  }

  async #endInstances(): Promise<void> {
    const { agent } = this.#children;
    if (isDeleted(this.layout)) {
      // Nobody reaches it over a socket whose file is gone. It ends all that it knows of when it is ended itself.
      await agent.stop(graceMs.agentWithInstances);
      return;
    }
    // It may just have crashed; only it can end what it started.
    agent.start();
    const shutDown = this.#options.shutDownInstances ?? shutDownAgent;
    this.#endingInstances = true;
    try {
      await shutDown(this.layout.agentSocket, this.#forced ? 0 : graceMs.instances);
    } catch (thrown) {
      this.#noteFailedEnd(thrown);
    } finally {
      this.#endingInstances = false;
    }
  }

  #noteFailedEnd(thrown: unknown): void {
    const what = `The agent could not end all instances: ${messageOf(thrown)}`;
    this.#note(50, `${what} The next \`bellows up\` on this data directory adopts them and can end them.`);
  }

  #started(name: ChildName, identity: ProcessIdentity): void {
    this.#identities.set(name, identity);
    this.#writeRecord();
  }

  #alive(): ProcessIdentity[] {
    return this.#beside.filter(isAlive);
  }

  #setBeside(beside: ProcessIdentity[]): void {
    this.#beside = beside;
    this.#writeRecord();
  }

  #writeRecord(): void {
    const self = identify(process.pid);
    if (self === undefined) return;
    const record: ProcessRecord = {
      supervisor: self,
      host: this.#options.host,
      port: this.#options.port,
      tlsPort: this.#options.tls?.port,
      children: Object.fromEntries(this.#identities),
      beside: this.#alive(),
    };
    try {
      writeProcesses(this.layout, record);
    } catch (thrown) {
      // Without it the next `bellows up` finds less. What runs goes on.
      this.#note(50, `What runs could not be written down: ${messageOf(thrown)}`);
    }
  }

  #ended(name: ChildName, { code, signal, pauseMs }: ChildEnd): void {
    if (pauseMs === null) return;
    const how =
      signal === null
        ? code === null
          ? 'could not be started'
          : `ended with status ${code}`
        : `was ended by ${signal}`;
    this.#note(40, `The ${name} ${how}; it is started again in ${pauseMs} ms.`);
  }

  #whyNotReady(): string | undefined {
    if (this.#stopping !== undefined) return 'it was told to stop';
    const failing = childNames.find((name) => this.#children[name].unplannedEnds >= maxEndsAtStart);
    return failing === undefined
      ? undefined
      : `the ${failing} ended ${maxEndsAtStart} times (log: ${this.logPath})`;
  }

  /** Into the log like everybody's lines; the terminal gets it from there. */
  #note(level: 30 | 40 | 50, msg: string): void {
    const line = { level, time: new Date().toISOString(), process: 'supervisor', pid: process.pid, msg };
    this.#log.write(JSON.stringify(line));
  }

  #show(line: string): void {
    const text = this.#options.verbose ? line : humanLine(line);
    if (text !== undefined) this.#options.say(text);
  }
}

function urlOf(host: string, port: number): string {
  const everywhere = host === '0.0.0.0' || host === '::';
  const name = everywhere ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}
