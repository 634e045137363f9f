// What `bellows up` runs: one data directory's agent, controller and gateway, started, kept running, stopped in order.
// Owns their processes, their log and what is on record of them. Does not own what a person is told after that (src/cli).
//
//   starting ──healthy──▶ serving ──stop──▶ stopping ──▶ stopped
//       │                                      ▲   │
//       └──────────────does not get ready──────┘   └──stop again──▶ the same, without patience
import { messageOf } from '../base/errors.ts';
import type { NetworkMode } from '../model/workload.ts';
import type { FileLock } from '../sys/file-lock.ts';
import type { GatewayConfig } from '../gateway/config.ts';
import { readCertificate } from '../gateway/tls/certificate.ts';
import type { Layout } from '../sys/layout.ts';
import { identify, isAlive, type ProcessIdentity } from '../sys/process.ts';
import type { FleetConfig } from '../units/fleet/config.ts';
import { endInstancesNow, shutDownAgent } from './agent-shutdown.ts';
import { SupervisedChild, type ChildEnd } from './child.ts';
import { lockDataDirectory, prepareDataDirectory } from './data-directory.ts';
import { humanLine } from './human-line.ts';
import { LogFile } from './log-file.ts';
import { checkPort } from './port-check.ts';
import { environmentOf, programOf, type Program } from './processes.ts';
import { waitUntilHealthy } from './readiness.ts';
import {
  childNames,
  readProcesses,
  removeEndpoint,
  removeProcesses,
  writeEndpoint,
  writeProcesses,
  type ChildName,
} from './records.ts';
import { endLeftRunning, leftRunning } from './take-over.ts';

/** How long each step of an orderly stop may take before the next begins. */
const graceMs = {
  /** Its own patience with running requests is 10 s (src/gateway/config.ts). */
  gateway: 12_000,
  controller: 5_000,
  /** What instances are given, as container engines give. */
  instances: 10_000,
  /** The agent itself, once its instances are gone. */
  agent: 5_000,
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
  /** The most warm processes that are kept ready; undefined leaves it to the controller. */
  readonly poolMaximum?: number | undefined;
  /** How long an idle instance of a function stays; undefined leaves it to the controller. */
  readonly keepAliveMs?: number | undefined;
  /** The most memory that is granted in all; undefined leaves it to the controller. */
  readonly memoryBytes?: number | undefined;
  /** Virtual machines, and what they are like; null where instances are processes of this machine. */
  readonly units?: FleetConfig['units'] | null;
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
    try {
      await clearTheWay(layout, options);
    } catch (thrown) {
      lock.release();
      throw thrown;
    }
    const supervisor = new Supervisor(layout, lock, options);
    onCreated(supervisor);
    try {
      await supervisor.#run();
    } catch (thrown) {
      await supervisor.stop();
      throw thrown;
    }
    return supervisor;
  }

  private constructor(layout: Layout, lock: FileLock, options: SupervisorOptions) {
    this.layout = layout;
    this.url = urlOf(options.host, options.port);
    this.#options = options;
    this.#lock = lock;
    this.#log = new LogFile(layout.logs, (line) => this.#show(line));
    const units = options.units ?? null;
    const env = environmentOf(layout, { ...options, units });
    const make = (name: ChildName): SupervisedChild => {
      const program = options.programs?.(name) ?? programOf(name, units !== null);
      return new SupervisedChild(
        { name, ...program, env, outputFd: this.#log.fd },
        { onStart: (identity) => this.#started(name, identity), onEnd: (end) => this.#ended(name, end) },
      );
    };
    this.#children = { agent: make('agent'), controller: make('controller'), gateway: make('gateway') };
  }

  get logPath(): string {
    return this.#log.path;
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
    for (const name of childNames) this.#children[name].start();
    await waitUntilHealthy(this.url, () => this.#whyNotReady());
    // What was said on the way comes before what is said next.
    this.#log.flush();
    if (this.#stopping === undefined) writeEndpoint(this.layout.root, { url: this.url });
  }

  async #stop(): Promise<void> {
    const { agent, controller, gateway } = this.#children;
    await gateway.stop(this.#patience(graceMs.gateway));
    await controller.stop(this.#patience(graceMs.controller));
    await this.#endInstances();
    await agent.stop(this.#patience(graceMs.agent));
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
    const self = identify(process.pid);
    if (self === undefined) return;
    writeProcesses(this.layout, {
      supervisor: self,
      host: this.#options.host,
      port: this.#options.port,
      tlsPort: this.#options.tls?.port,
      children: Object.fromEntries(this.#identities),
    });
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
  #note(level: 40 | 50, msg: string): void {
    const line = { level, time: new Date().toISOString(), process: 'supervisor', pid: process.pid, msg };
    this.#log.write(JSON.stringify(line));
  }

  #show(line: string): void {
    const text = this.#options.verbose ? line : humanLine(line);
    if (text !== undefined) this.#options.say(text);
  }
}

/** The port is looked at before anything of an earlier Bellows is ended: a start that can not be must not cost what serves. */
async function clearTheWay(layout: Layout, { host, port, tls, say }: SupervisorOptions): Promise<void> {
  const record = readProcesses(layout);
  const left = record === undefined ? [] : leftRunning(record);
  const gateway = record?.children.gateway;
  const isServed = record?.host === host && gateway !== undefined && isAlive(gateway);
  if (!isServed || record.port !== port) await checkPort(host, port);
  if (tls !== undefined) {
    if (tls.files !== undefined) await readCertificate(tls.files, Date.now());
    if (!isServed || record.tlsPort !== tls.port) await checkPort(host, tls.port);
  }
  if (record === undefined || left.length === 0) return;
  say(`Taking over from a Bellows whose supervisor was killed (its ${left.join(', ')} still ran)…`);
  await endLeftRunning(record);
}

function urlOf(host: string, port: number): string {
  const everywhere = host === '0.0.0.0' || host === '::';
  const name = everywhere ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}
