// What `bellows up` runs: one data directory's agent, controller and gateways, started, kept running, stopped in order.
// Owns their processes, their log and what is on record of them. Does not own what a person is told after that (src/cli).
//
//   starting ──healthy──▶ serving ──stop──▶ stopping ──▶ stopped
//       │                                      ▲   │
//       └──────────────does not get ready──────┘   └──stop again──▶ the same, without patience
import { closeSync } from 'node:fs';
import { messageOf } from '../base/errors.ts';
import type { NetworkMode } from '../model/workload.ts';
import { unitKinds, unitKindsOf } from '../model/unit-kind.ts';
import type { FileLock } from '../sys/file-lock.ts';
import type { GatewayConfig } from '../gateway/config.ts';
import type { Layout } from '../sys/layout.ts';
import { identify, type ProcessIdentity } from '../sys/process.ts';
import type { FleetConfig } from '../units/fleet/config.ts';
import { leftBehind } from '../units/left-behind.ts';
import { endInstancesNow, shutDownAgent } from './agent-shutdown.ts';
import { SupervisedChild, type ChildEnd } from './child.ts';
import { clearTheWay, type Found } from './clear-the-way.ts';
import { isDeleted, lockDataDirectory, prepareDataDirectory, wasDeleted } from './data-directory.ts';
import { humanLine } from './human-line.ts';
import { LogFile } from './log-file.ts';
import { ControlServer } from './control.ts';
import { Gateways } from './gateways.ts';
import { environmentOf, programOf, type GatewayPlace, type Program } from './processes.ts';
import { waitUntilHealthy } from './readiness.ts';
import {
  removeEndpoint,
  removeProcesses,
  writeEndpoint,
  writeProcesses,
  type ChildName,
  type ProcessRecord,
} from './records.ts';
import { sweepUnserved, type Sweep } from './sweep.ts';
import type { Upgraded } from './upgrade.ts';

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
  /** How many gateways serve together; undefined for one. */
  readonly gateways?: number | undefined;
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
  /** After how long without anything in it a virtual machine goes to disk; undefined: not by itself. */
  readonly hibernateAfterMs?: number | undefined;
  /** The most memory that is granted in all; undefined leaves it to the controller. */
  readonly memoryBytes?: number | undefined;
  /** Virtual machines, and what they are like; null where instances are processes of this machine. */
  readonly units?: FleetConfig['units'] | null;
  /** Beside virtual machines, instances run on this machine too. */
  readonly hostToo?: boolean;
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
  readonly #children: Readonly<Record<'agent' | 'controller', SupervisedChild>>;
  /** Those that answer for what runs: where there are two, the first for both, as long as the second is there. */
  readonly #agents: readonly SupervisedChild[];
  readonly #launchSweep: () => Sweep;
  #sweep: Sweep | undefined;
  readonly #identities = new Map<ChildName, ProcessIdentity>();
  readonly #gateways: Gateways;
  /** The ports' listening sockets. */
  readonly #listening: readonly number[];
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
      // Told to stop while it starts, it is told once: that ends in order.
      await (supervisor.#stopping ?? supervisor.stop());
      throw thrown;
    }
    return supervisor;
  }

  private constructor(layout: Layout, lock: FileLock, found: Found, options: SupervisorOptions) {
    this.layout = layout;
    this.url = urlOf(options.host, options.port);
    this.#options = options;
    this.#lock = lock;
    this.#listening = found.listening.flat();
    this.#control = new ControlServer(layout.supervisorSocket, () => this.upgrade());
    this.#log = new LogFile(layout.logs, (line) => this.#show(line));
    const units = options.units ?? null;
    const env = (place?: GatewayPlace): NodeJS.ProcessEnv =>
      environmentOf(layout, { ...options, units, hostToo: options.hostToo ?? false }, place);
    const program = (name: ChildName): Program => options.programs?.(name) ?? programOf(name, units !== null);
    const onStart = (name: ChildName, identity: ProcessIdentity): void => {
      this.#identities.set(name, identity);
      this.#writeRecord();
    };
    this.#launchSweep = () =>
      sweepUnserved({
        layout,
        kinds: unitKindsOf({ units, hostToo: options.hostToo ?? false }),
        launch: { ...program('sweep'), env: env(), outputFd: this.#log.fd },
        onStart: (identity) => onStart('sweep', identity),
        note: (level, text) => this.#note(level, text),
      });
    const make = (name: Exclude<ChildName, 'gateway' | 'sweep'>): SupervisedChild =>
      new SupervisedChild(
        { name, ...program(name), env: () => env(), outputFd: this.#log.fd },
        {
          onStart: (identity) => onStart(name, identity),
          onEnd: (how) => this.#ended(name, how),
        },
      );
    this.#children = { agent: make('agent'), controller: make('controller') };
    this.#agents = [this.#children.agent, ...(options.hostToo === true ? [make('host-agent')] : [])];
    this.#gateways = new Gateways({
      ...found,
      launch: { ...program('gateway'), outputFd: this.#log.fd },
      env,
      onChange: () => this.#writeRecord(),
      onEnd: (name, how) => this.#ended(name, how),
      logPath: this.#log.path,
    });
  }

  get logPath(): string {
    return this.#log.path;
  }

  /**
   * Runs the code that is on the disk now as the gateways. No connection is refused, closed or lost for it.
   * @throws BellowsError UpgradeFailed when one does not get ready; the one before goes on then
   */
  upgrade(): Promise<Upgraded[]> {
    const next = this.#upgrade.then(async () => {
      const upgraded = await this.#gateways.upgrade(this.#stopped.signal);
      const pids = upgraded.map(({ pid }) => pid).join(', ');
      const what =
        upgraded.length === 1 ? 'The gateway was upgraded: process' : 'The gateways were upgraded:';
      this.#note(30, `${what} ${pids} ${upgraded.length === 1 ? 'serves' : 'serve'}.`);
      return upgraded;
    });
    this.#upgrade = next.catch((thrown: unknown) => this.#note(50, messageOf(thrown)));
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
    // Else one would be replaced that has taken nothing over yet.
    this.#upgrade = this.#gateways.untilTakenOver(this.#stopped.signal);
    await this.#control.listen();
    this.#sweep = this.#launchSweep();
    await this.#sweep.done;
    this.#identities.delete('sweep');
    // It took long enough for that.
    if (this.#stopping !== undefined) return this.#stopping;
    for (const agent of this.#agents) agent.start();
    this.#children.controller.start();
    this.#gateways.start();
    await waitUntilHealthy(
      this.url,
      () => this.#whyNotReady(),
      () => this.#gateways.hasTakenOver,
    );
    // What was said on the way comes before what is said next.
    this.#log.flush();
    if (this.#stopping === undefined) writeEndpoint(this.layout.root, { url: this.url });
  }

  async #stop(): Promise<void> {
    const { controller } = this.#children;
    this.#stopped.abort();
    await this.#control.close();
    await this.#sweep?.done;
    await this.#upgrade;
    await this.#gateways.stop(this.#patience(graceMs.gateway));
    // Only now: until then it accepts nobody, and whoever waits would wait for nobody.
    for (const fd of this.#listening) closeSync(fd);
    await controller.stop(this.#patience(graceMs.controller));
    const failure = await this.#endInstances();
    const forAgentsMs = this.#patience(failure === undefined ? graceMs.agent : graceMs.agentWithInstances);
    await Promise.all(this.#agents.map((agent) => agent.stop(forAgentsMs)));
    // Ended itself, an agent ends all that it knows of: one that could not be asked may have left nothing.
    if (failure !== undefined && unitKinds.some((kind) => leftBehind(kind, this.layout) !== undefined))
      this.#noteFailedEnd(failure);
    if (isDeleted(this.layout)) this.#note(50, wasDeleted(this.layout));
    removeProcesses(this.layout);
    removeEndpoint(this.layout.root);
    this.#log.close();
    this.#lock.release();
  }

  /** A second wish to stop: what is being waited for is ended now; steps to come have little patience. */
  #hurry(): void {
    this.#sweep?.cut();
    for (const child of [...this.#gateways.children, this.#children.controller]) void child.stop(forcedMs);
    if (!this.#endingInstances) return;
    const endNow = this.#options.endInstancesNow ?? endInstancesNow;
    endNow(this.layout.agentSocket).catch((thrown: unknown) => this.#noteFailedEnd(thrown));
  }

  #patience(normalMs: number): number {
    return this.#forced ? forcedMs : normalMs;
  }

  /** @returns why it could not be told to the agent, or not be done */
  async #endInstances(): Promise<unknown> {
    if (isDeleted(this.layout)) {
      // Nobody reaches it over a socket whose file is gone. It ends all that it knows of when it is ended itself.
      await Promise.all(this.#agents.map((agent) => agent.stop(graceMs.agentWithInstances)));
      return undefined;
    }
    // It may just have crashed; only it can end what it started.
    for (const agent of this.#agents) agent.start();
    const shutDown = this.#options.shutDownInstances ?? shutDownAgent;
    this.#endingInstances = true;
    try {
      await shutDown(this.layout.agentSocket, this.#forced ? 0 : graceMs.instances);
      return undefined;
    } catch (thrown) {
      return thrown;
    } finally {
      this.#endingInstances = false;
    }
  }

  #noteFailedEnd(thrown: unknown): void {
    const what = `The agent could not end all instances: ${messageOf(thrown)}`;
    this.#note(50, `${what} The next \`bellows up\` on this data directory adopts them and can end them.`);
  }

  #writeRecord(): void {
    const self = identify(process.pid);
    if (self === undefined) return;
    const [gateway, ...more] = this.#gateways.identities;
    const record: ProcessRecord = {
      supervisor: self,
      host: this.#options.host,
      port: this.#options.port,
      tlsPort: this.#options.tls?.port,
      children: { ...Object.fromEntries(this.#identities), gateway },
      gateways: more,
      beside: this.#gateways.beside,
    };
    try {
      writeProcesses(this.layout, record);
    } catch (thrown) {
      // Without it the next `bellows up` finds less. What runs goes on.
      this.#note(50, `What runs could not be written down: ${messageOf(thrown)}`);
    }
  }

  #ended(name: string, { code, signal, pauseMs }: ChildEnd): void {
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
    const children = [...this.#agents, this.#children.controller, ...this.#gateways.children];
    const failing = children.find(({ unplannedEnds }) => unplannedEnds >= maxEndsAtStart);
    return failing === undefined
      ? undefined
      : `the ${failing.name} ended ${maxEndsAtStart} times (log: ${this.logPath})`;
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
