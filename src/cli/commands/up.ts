import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { relative, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { systemClock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { parseBytes } from '../../base/quantity.ts';
import { defaultTenantId } from '../../base/ids.ts';
import { bodyLimits } from '../../gateway/config.ts';
import { TrustedProxies } from '../../gateway/hop.ts';
import { authorityFilesOf } from '../../gateway/tls/local-authority.ts';
import { gatewayCount } from '../../supervisor/gateway-count.ts';
import { Supervisor, type SupervisorOptions } from '../../supervisor/supervisor.ts';
import { ensureBubblewrap, ensureOpenssl, ensureVirtualMachines } from '../../supervisor/system-packages.ts';
import { defaultPoolMaximum, sharingModes } from '../../units/fleet/config.ts';
import { defaultUnitSize } from '../../units/fleet/unit-size.ts';
import { virtualMachinesWork } from '../../units/fleet/accelerator.ts';
import { units, workload } from '../answers.ts';
import { Client } from '../client.ts';
import { command, parsedField } from '../command.ts';
import type { Context } from '../context.ts';
import { deployExamples, exampleDirectory } from '../examples.ts';
import { exitCode, type ExitCode } from '../exit-code.ts';
import { CommandError } from '../failure.ts';
import { wholeNumber } from '../fields.ts';
import { dataDirectoryOf, defaultPort, Installation } from '../installation.ts';
import { welcome } from '../welcome.ts';

/** Signals that come closer together are one press of Ctrl-C. */
const sameWishMs = 500;
const unitPollMs = 500;
const stopSignals = ['SIGINT', 'SIGTERM'] as const;

/** In a checkout npm finds the command; where it is installed it is on the path. */
const program = existsSync(fileURLToPath(new URL('../../../.gitignore', import.meta.url)))
  ? 'npx bellows'
  : 'bellows';

export const up = command({
  name: 'up',
  summary: 'start Bellows and keep it running, until Ctrl-C',
  options: [
    { flags: '--port <number>', description: `the one port (default: ${defaultPort})` },
    {
      flags: '--data <directory>',
      description: 'where everything is kept (default: BELLOWS_DATA, ~/.bellows)',
    },
    { flags: '--host <address>', description: 'what to listen on (default: 127.0.0.1, this machine alone)' },
    { flags: '--tls-port <number>', description: 'a port for https:// and wss:// besides' },
    {
      flags: '--tls-cert <file>',
      description: 'certificate for it, in PEM (default: one for localhost is made)',
    },
    { flags: '--tls-key <file>', description: 'and its private key' },
    {
      flags: '--trusted-proxy <addresses>',
      description: 'proxies that are believed in X-Forwarded-For and its like, separated by commas',
    },
    {
      flags: '--min-body-rate <bytes>',
      description: 'bytes a second, below which an upload to a function is ended after 20 s (default: 500)',
    },
    {
      flags: '--gateways <number>',
      description:
        'so many gateway processes serve together (default: one for four processors, from eight on)',
    },
    { flags: '--unit <kind>', description: 'where instances run: host, vm or auto (default: auto)' },
    { flags: '--network <mode>', description: "instances' network: host, or none (default: host)" },
    {
      flags: '--pool <number>',
      description: 'at most so many warm processes are kept ready for starts; 0: none (default: 20)',
    },
    {
      flags: '--keep-alive <seconds>',
      description:
        "a function's instance that served nothing for so long is ended (default: as its calls come)",
    },
    {
      flags: '--memory <size>',
      description: 'at most so much memory is granted in all (default: 1.5 times what the machine has)',
    },
    { flags: '--unit-memory <size>', description: 'memory of each virtual machine (default: 1GiB)' },
    {
      flags: '--unit-storage <size>',
      description: 'scratch disk of each virtual machine (default: 1GiB)',
    },
    {
      flags: '--share <who>',
      description: 'who may share a virtual machine: none, tenant (its instances) or all (default: none)',
    },
    { flags: '--accelerator <kind>', description: 'of virtual machines: kvm, tcg or auto (default: auto)' },
    {
      flags: '--guest-image <directory>',
      description: "virtual machines' kernel and root of your own (default: built of Debian packages)",
    },
    {
      flags: '--drain <seconds>',
      description: 'an upgraded gateway closes what it still carries after this (default: when that ends)',
    },
    { flags: '--no-examples', description: 'do not deploy the examples at the first start' },
    { flags: '--verbose', description: 'show every log line' },
  ],
  examples: ['bellows up', 'bellows up --port 9000 --data /var/lib/bellows --no-examples'],
  args: z.object({
    port: wholeNumber(1, 65_535).default(defaultPort),
    data: z.string().min(1).optional(),
    host: z.string().min(1).max(253).default('127.0.0.1'),
    tlsPort: wholeNumber(1, 65_535).optional(),
    tlsCert: z.string().min(1).optional(),
    tlsKey: z.string().min(1).optional(),
    trustedProxy: z.string().min(1).optional(),
    minBodyRate: wholeNumber(1, 1_000_000_000).optional(),
    gateways: z.union([z.literal('auto'), wholeNumber(1, 32)]).default('auto'),
    unit: z.enum(['host', 'vm', 'auto'], 'expected host, vm or auto').default('auto'),
    network: z.enum(['host', 'none'], 'expected host or none').default('host'),
    pool: wholeNumber(0, 1_000).optional(),
    keepAlive: wholeNumber(1, 86_400).optional(),
    memory: parsedField(parseBytes).optional(),
    unitMemory: parsedField(parseBytes).optional(),
    unitStorage: parsedField(parseBytes).optional(),
    share: z.enum(sharingModes, 'expected none, tenant or all').default('none'),
    accelerator: z.enum(['auto', 'kvm', 'tcg'], 'expected kvm, tcg or auto').default('auto'),
    guestImage: z.string().min(1).optional(),
    drain: wholeNumber(1, 31_536_000).optional(),
    examples: z.boolean().default(true),
    verbose: z.boolean().optional(),
  }),
  handler: async (args, ctx) => {
    const {
      port,
      data,
      host,
      network,
      pool,
      keepAlive,
      memory,
      minBodyRate,
      trustedProxy,
      drain,
      examples,
      verbose,
    } = args;
    if (process.platform !== 'linux')
      throw new CommandError(
        exitCode.failed,
        `Bellows runs on Linux, and this is ${process.platform}: its sandboxes and limits are the Linux kernel's.`,
        'Run it in a Linux virtual machine or container.',
      );
    const say = (text: string): void => ctx.out.line(text);
    const dataDirectory = dataDirectoryOf(data ?? ctx.options.dataDir, ctx.env);
    const sandbox = await ensureBubblewrap(say);
    if (sandbox.outcome === 'missing')
      say(`warning: Instances are not sandboxed: ${sandbox.why} ${sandbox.solve}`);
    const tls = await tlsOf(args, say);
    const trustedProxies = trustedProxy?.split(',').map((address) => address.trim());
    // Refused here, where somebody reads it, and not by a process that would be started again and again.
    if (trustedProxies !== undefined) new TrustedProxies(trustedProxies);
    if (!['127.0.0.1', '::1', 'localhost'].includes(host))
      say(
        `warning: Listening on ${host}: others can reach it, and port ${port} is not encrypted. Give --tls-port with a certificate of your own, or put a TLS proxy in front.`,
      );
    return serve(
      {
        dataDirectory,
        port,
        host,
        tls,
        trustedProxies,
        bodyFloor:
          minBodyRate === undefined ? undefined : { ...bodyLimits.floor, bytesPerSecond: minBodyRate },
        network,
        gateways: args.gateways === 'auto' ? gatewayCount(availableParallelism()) : args.gateways,
        poolMaximum: pool,
        keepAliveMs: keepAlive === undefined ? undefined : keepAlive * 1_000,
        memoryBytes: memory,
        leavingMs: drain === undefined ? undefined : drain * 1_000,
        units: await unitsOf(args, say),
        verbose: verbose === true,
        say,
      },
      examples,
      ctx,
    );
  },
});

interface TlsArgs {
  readonly tlsPort?: number | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

/** Where TLS is served, and by which certificate. @throws CommandError when options do not fit, or none can be made */
async function tlsOf(
  { tlsPort, tlsCert, tlsKey }: TlsArgs,
  say: (text: string) => void,
): Promise<SupervisorOptions['tls']> {
  if ((tlsCert === undefined) !== (tlsKey === undefined) || (tlsCert !== undefined && tlsPort === undefined))
    throw new CommandError(
      exitCode.usage,
      '--tls-cert and --tls-key go together, and with --tls-port.',
      'For example: bellows up --tls-port 8443 --tls-cert server.pem --tls-key server.key',
    );
  if (tlsPort === undefined) return undefined;
  if (tlsCert !== undefined && tlsKey !== undefined)
    return { port: tlsPort, files: { certFile: resolve(tlsCert), keyFile: resolve(tlsKey) } };
  const openssl = await ensureOpenssl(say);
  if (openssl.outcome === 'missing')
    throw new CommandError(
      exitCode.failed,
      `There can be no certificate for localhost: ${openssl.why}`,
      `${openssl.solve} Or give a certificate: --tls-cert FILE --tls-key FILE`,
    );
  return { port: tlsPort };
}

interface UnitArgs {
  readonly unit: 'host' | 'vm' | 'auto';
  readonly unitMemory?: number | undefined;
  readonly unitStorage?: number | undefined;
  readonly share: (typeof sharingModes)[number];
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  readonly guestImage?: string | undefined;
  readonly pool?: number | undefined;
}

/** What virtual machines are to be like; null for none. @throws CommandError when they are asked for and can not be */
async function unitsOf(
  { unit, unitMemory, unitStorage, share, accelerator, guestImage, pool }: UnitArgs,
  say: (text: string) => void,
): Promise<NonNullable<SupervisorOptions['units']> | null> {
  if (unit === 'host') return null;
  if (unit === 'auto' && !(await virtualMachinesWork())) return null;
  const programs = await ensureVirtualMachines(say);
  if (programs.outcome === 'missing') {
    if (unit === 'auto') return null;
    throw new CommandError(
      exitCode.failed,
      `There can be no virtual machines here: ${programs.why}`,
      programs.solve,
    );
  }
  return {
    size: defaultUnitSize(unitMemory, unitStorage),
    accelerator,
    image: guestImage === undefined ? null : resolve(guestImage),
    sharing: share,
    subnet: null,
    poolMaximum: pool ?? defaultPoolMaximum,
  };
}

async function serve(options: SupervisorOptions, examples: boolean, ctx: Context): Promise<ExitCode> {
  const { say } = options;
  const asked = new AbortController();
  let supervisor: Supervisor | undefined;
  let stopped: Promise<void> | undefined;
  let askedAtMs = -Infinity;
  const onSignal = (): void => {
    // npm, and a starter that runs us as a child, pass on what the terminal has already sent to everybody.
    const nowMs = systemClock.monotonicMs();
    if (nowMs - askedAtMs < sameWishMs) return;
    askedAtMs = nowMs;
    say(
      asked.signal.aborted
        ? 'Stopping at once…'
        : 'Stopping: letting what runs finish (again to stop at once)…',
    );
    asked.abort();
    stopped = supervisor?.stop();
  };
  // A terminal that is closed takes with it what runs in it; where there is none, as under systemd, it means "anew".
  const onHangUp = (): void => {
    if (process.stdin.isTTY) onSignal();
    else if (!asked.signal.aborted) supervisor?.upgrade().catch(() => undefined);
  };
  for (const signal of stopSignals) process.on(signal, onSignal);
  process.on('SIGHUP', onHangUp);
  try {
    await Supervisor.start(options, (created) => {
      supervisor = created;
      // The wish came while there was nothing to stop.
      if (ctx.signal.aborted) onSignal();
    });
    if (supervisor !== undefined && !asked.signal.aborted)
      await greet(supervisor, examples, asked.signal, options, ctx);
    if (!asked.signal.aborted)
      await new Promise((resolve) => asked.signal.addEventListener('abort', resolve, { once: true }));
    await stopped;
    say('Stopped.');
    return exitCode.ok;
  } catch (thrown) {
    // Told to stop while it started.
    if (asked.signal.aborted) return exitCode.ok;
    throw thrown;
  } finally {
    for (const signal of stopSignals) process.off(signal, onSignal);
    process.off('SIGHUP', onHangUp);
  }
}

async function greet(
  { url, layout, logPath }: Supervisor,
  examples: boolean,
  signal: AbortSignal,
  { say, units: virtual, tls }: SupervisorOptions,
  { env }: Context,
): Promise<void> {
  const client = new Client(new Installation({ json: false, url, dataDir: layout.root }, {}), signal);
  // Where none is to be kept ready there is none before somebody asks for it.
  if ((virtual?.poolMaximum ?? 0) > 0) await untilUnitsAreThere(client, signal, say);
  if (examples) await deployExamples(client, layout.root, signal, say);
  await tellWhatIsNotEnforced(client, say, signal);
  const deployed = await deployedNames(client);
  if (signal.aborted) return;
  const helloFromHere = relative(process.cwd(), exampleDirectory('hello'));
  say(
    welcome({
      url,
      secure:
        tls === undefined
          ? undefined
          : {
              url: `https://localhost:${tls.port}`,
              authority: tls.files === undefined ? authorityFilesOf(layout.root).certificate : undefined,
            },
      dataDirectory: layout.root,
      credentialsPath: layout.credentials,
      logPath,
      program,
      isDefaultData: dataDirectoryOf(undefined, env) === layout.root,
      deployed,
      helloDirectory: helloFromHere.startsWith('..') ? exampleDirectory('hello') : helloFromHere,
    }),
  );
}

/** The first virtual machines take as long as their image: nothing can be started before. */
async function untilUnitsAreThere(
  client: Client,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  say('Waiting for the first virtual machine…');
  while (!signal.aborted) {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, units).catch(() => []);
    if (list.length > 0) return;
    await pause(unitPollMs, undefined, { signal }).catch(() => undefined);
  }
}

/** None when it can not be asked: then the greeting names nothing that needs to be there. */
async function deployedNames(client: Client): Promise<ReadonlySet<string>> {
  const path = `/v1/workloads/${defaultTenantId}`;
  const list = await client.call({ method: 'GET', path }, z.array(workload)).catch(() => []);
  return new Set(list.map(({ name }) => name));
}

async function tellWhatIsNotEnforced(
  client: Client,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, units);
    const missing = list.flatMap(
      ({ capabilities }) => capabilities?.notEnforced.map(({ what }) => what) ?? [],
    );
    if (missing.length > 0)
      say(
        `warning: Not enforced on this machine: ${missing.join(', ')}. \`bellows doctor\` says why and what to do.`,
      );
  } catch (thrown) {
    if (!signal.aborted) say(`warning: What is enforced here could not be asked: ${messageOf(thrown)}`);
  }
}
