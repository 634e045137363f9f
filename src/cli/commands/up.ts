// `bellows up`: its options, and what each becomes for the supervisor. What it does then is in src/cli/up.
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { parseBytes } from '../../base/quantity.ts';
import { bodyLimits } from '../../gateway/config.ts';
import { TrustedProxies } from '../../gateway/hop.ts';
import { gatewayCount } from '../../supervisor/gateway-count.ts';
import { ensureBubblewrap } from '../../supervisor/system-packages.ts';
import { sharingModes } from '../../units/fleet/config.ts';
import { command, parsedField } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { CommandError } from '../failure.ts';
import { wholeNumber } from '../fields.ts';
import { dataDirectoryOf, defaultPort } from '../installation.ts';
import { serve } from '../up/serve.ts';
import { tlsOf } from '../up/tls.ts';
import { sleepOf, unitsOf } from '../up/virtual-machines.ts';

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
    { flags: '--unit <kind>', description: 'where instances run: host, vm, both or auto (default: auto)' },
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
    {
      flags: '--hibernate-after <seconds>',
      description:
        'virtual machines in which nothing happened for so long go to disk by themselves, or off (default: off)',
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
    unit: z.enum(['host', 'vm', 'both', 'auto'], 'expected host, vm, both or auto').default('auto'),
    network: z.enum(['host', 'none'], 'expected host or none').default('host'),
    pool: wholeNumber(0, 1_000).optional(),
    keepAlive: wholeNumber(1, 86_400).optional(),
    memory: parsedField(parseBytes).optional(),
    unitMemory: parsedField(parseBytes).optional(),
    unitStorage: parsedField(parseBytes).optional(),
    share: z.enum(sharingModes, 'expected none, tenant or all').default('none'),
    hibernateAfter: z
      .union([z.literal('off'), wholeNumber(1, 31_536_000)], 'expected a number of seconds, or off')
      .default('off'),
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
      hibernateAfter,
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
    const units = await unitsOf(args, say);
    if (hibernateAfter !== 'off') say(sleepOf(hibernateAfter, units !== null));
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
        units,
        hostToo: args.unit === 'both',
        hibernateAfterMs: hibernateAfter === 'off' ? undefined : hibernateAfter * 1_000,
        verbose: verbose === true,
        say,
      },
      examples,
      ctx,
    );
  },
});
