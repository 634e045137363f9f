// Where everything of one Bellows lies below its data directory. Owns the names; whoever uses a path makes it.
import { join } from 'node:path';

export interface Layout {
  /** The data directory itself, mode 700. */
  readonly root: string;
  readonly credentials: string;
  readonly database: string;
  readonly blobs: string;
  /** Unpacked code: code/TENANT/SHA256, and the same for every reader in it, below a directory that only root may enter. */
  readonly code: string;
  readonly logs: string;
  /** Where what runs in virtual machines is logged when instances run on this machine, too: a log has one writer. */
  readonly machineLogs: string;
  /** Handles of running instances: instances/ID.json. */
  readonly handles: string;
  /** Sockets; short, since a Unix socket's path has at most 107 bytes. */
  readonly run: string;
  readonly controllerSocket: string;
  /** The controller's HTTP: /v1, Lambda's management calls, dashboard, metrics; the gateway proxies to it. */
  readonly controllerHttpSocket: string;
  readonly agentSocket: string;
  /** Of this machine's own agent where virtual machines run beside it: what is served at `agentSocket` asks it. */
  readonly hostAgentSocket: string;
  /** What `bellows upgrade` asks. */
  readonly supervisorSocket: string;
  /** Of each gateway process, for those beside it. */
  gatewaySocket(pid: number): string;
  /** Where the next one comes for its held connections. */
  gatewayHeldSocket(pid: number): string;
  /** Where the next supervisor comes for the sockets that it accepts from. */
  gatewayPortsSocket(pid: number): string;
  /** Images of instances' scratch space. */
  readonly scratch: string;
  /** The runtime's files as every sandbox sees them. */
  readonly runtime: string;
  instanceRun(id: string): string;
  /** What is on record of virtual machines: units/ID.json. */
  readonly units: string;
  /** Virtual machines' sockets: run/u/ID. */
  readonly unitRuns: string;
  handle(id: string): string;
  codeOf(tenant: string, sha256: string): string;
}

export function layoutOf(root: string): Layout {
  const run = join(root, 'run');
  return {
    root,
    credentials: join(root, 'credentials.json'),
    database: join(root, 'bellows.db'),
    blobs: join(root, 'blobs'),
    code: join(root, 'code'),
    logs: join(root, 'logs'),
    machineLogs: join(root, 'machine-logs'),
    handles: join(root, 'instances'),
    run,
    controllerSocket: join(run, 'controller.sock'),
    controllerHttpSocket: join(run, 'controller-http.sock'),
    agentSocket: join(run, 'agent.sock'),
    hostAgentSocket: join(run, 'host-agent.sock'),
    supervisorSocket: join(run, 'supervisor.sock'),
    gatewaySocket: (pid) => join(run, `gateway-${pid}.sock`),
    gatewayHeldSocket: (pid) => join(run, `gateway-${pid}-held.sock`),
    gatewayPortsSocket: (pid) => join(run, `gateway-${pid}-ports.sock`),
    scratch: join(root, 'scratch-images'),
    runtime: join(root, 'runtime'),
    instanceRun: (id) => join(run, 'i', id),
    units: join(root, 'units'),
    unitRuns: join(run, 'u'),
    handle: (id) => join(root, 'instances', `${id}.json`),
    codeOf: (tenant, sha256) => join(root, 'code', tenant, sha256),
  };
}
