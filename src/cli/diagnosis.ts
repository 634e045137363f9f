// What `bellows doctor` concludes from what it saw. Pure: facts in, findings out.

export interface Finding {
  readonly level: 'ok' | 'note' | 'problem';
  readonly what: string;
  readonly why?: string;
  readonly solve?: string;
}

export interface Facts {
  readonly platform: string;
  readonly nodeVersion: string;
  readonly root: boolean;
  readonly bubblewrap: boolean;
  /** What this machine's kernel offers, by looking at /sys/fs/cgroup. */
  readonly cgroup: 'v1' | 'v2' | 'none';
  /** The most files that a process may have open; null where it can not be told. */
  readonly openFiles: number | null;
  /** Whether who asks may let Bellows' own processes run before others. */
  readonly mayRaisePriority: boolean;
  /** What virtual machines would run with; null without QEMU. */
  readonly accelerator: { readonly kind: 'kvm' | 'tcg'; readonly why: string } | null;
  /** Undefined when its path is short enough. */
  readonly dataDirectoryProblem: { readonly why: string; readonly solve: string } | undefined;
  readonly running:
    | {
        readonly is: 'yes';
        readonly url: string;
        readonly cgroup: string;
        readonly sandbox: string;
        readonly notEnforced: readonly {
          readonly what: string;
          readonly why: string;
          readonly solve: string;
        }[];
      }
    | {
        readonly is: 'no';
        readonly portProblem: { readonly why: string; readonly solve: string } | undefined;
      }
    | { readonly is: 'unknown'; readonly why: string; readonly solve: string };
}

const neededNode = 26;
/** One descriptor a held connection, and some for each instance: with less, a hundred clients are the end. */
const fewOpenFiles = 1_024;
/** What many system's defaults allow a service. */
const goodOpenFiles = 16_384;

export function diagnose(facts: Facts): Finding[] {
  return [
    platform(facts),
    node(facts),
    openFiles(facts),
    priority(facts),
    facts.dataDirectoryProblem === undefined
      ? { level: 'ok', what: 'The data directory can be used.' }
      : { level: 'problem', what: 'The data directory can not be used.', ...facts.dataDirectoryProblem },
    virtualMachines(facts),
    ...enforcement(facts),
  ];
}

function platform({ platform: name }: Facts): Finding {
  if (name === 'linux') return { level: 'ok', what: 'This is Linux.' };
  return {
    level: 'problem',
    what: `This is ${name}.`,
    why: "Sandboxes and limits are the Linux kernel's.",
    solve: 'Run Bellows on Linux.',
  };
}

function node({ nodeVersion }: Facts): Finding {
  if (Number(nodeVersion.replace(/^v/, '').split('.')[0]) >= neededNode)
    return { level: 'ok', what: `Node ${nodeVersion}.` };
  return {
    level: 'problem',
    what: `Node ${nodeVersion} is too old.`,
    why: `Bellows runs on Node ${neededNode}, which it brings along as an optional dependency.`,
    solve: 'Install it again without --omit=optional.',
  };
}

function openFiles({ openFiles: limit }: Facts): Finding {
  if (limit === null) return { level: 'note', what: 'The limit of open files is not known.' };
  if (limit >= goodOpenFiles) return { level: 'ok', what: `${limit} open files a process.` };
  return {
    level: limit < fewOpenFiles ? 'problem' : 'note',
    what: `Only ${limit} open files a process.`,
    why: 'Each connection that the gateway holds is one.',
    solve: 'Raise it: ulimit -n 65536, or LimitNOFILE=65536 in a service.',
  };
}

function priority({ mayRaisePriority }: Facts): Finding {
  if (mayRaisePriority) return { level: 'ok', what: "Bellows' own processes may run before others." };
  return {
    level: 'note',
    what: "Bellows' own processes may not run before others.",
    why: 'Where all processors are busy, requests and resizes wait longer for their turn.',
    solve: 'Run as root, or give the right: LimitNICE=-5 in a service, or the capability CAP_SYS_NICE.',
  };
}

function virtualMachines({ accelerator }: Facts): Finding {
  if (accelerator === null)
    return {
      level: 'note',
      what: 'QEMU is not installed, so there are no virtual machines.',
      solve: 'For `bellows up --unit vm`, install the package qemu-system-x86.',
    };
  if (accelerator.kind === 'kvm') return { level: 'ok', what: 'Virtual machines run with KVM.' };
  return {
    level: 'note',
    what: 'Virtual machines run without KVM: QEMU translates their code, which takes about ten times the CPU, and 50 MB of memory more for each.',
    why: `KVM: ${accelerator.why}.`,
    solve: 'Run on a machine with KVM, or switch nested virtualisation on where this is one itself.',
  };
}

function enforcement({ running, bubblewrap, root, cgroup }: Facts): Finding[] {
  if (running.is === 'unknown')
    return [
      {
        level: 'problem',
        what: 'Bellows does not answer as it should.',
        why: running.why,
        solve: running.solve,
      },
    ];
  if (running.is === 'yes')
    return [
      {
        level: 'ok',
        what: `Bellows runs at ${running.url}, with cgroup ${running.cgroup} and ${running.sandbox === 'none' ? 'no sandbox' : running.sandbox}.`,
      },
      // Usually one thing is missing for all of them: it is said once.
      ...Map.groupBy(running.notEnforced, ({ why, solve }) => `${why}\n${solve}`)
        .values()
        .flatMap(([first, ...others]): Finding[] =>
          first === undefined
            ? []
            : [
                {
                  level: 'problem',
                  what: `Not enforced: ${[first, ...others].map(({ what }) => what).join(', ')}.`,
                  why: first.why,
                  solve: first.solve,
                },
              ],
        ),
    ];
  return [
    {
      level: 'note',
      what: 'Bellows is not running here; it would tell more.',
      solve: 'Start it: bellows up',
    },
    running.portProblem === undefined
      ? { level: 'ok', what: 'The port is free.' }
      : { level: 'problem', what: 'The port can not be used.', ...running.portProblem },
    bubblewrap
      ? { level: 'ok', what: 'bubblewrap is installed.' }
      : {
          level: 'problem',
          what: 'bubblewrap is not installed.',
          why: 'Without it instances are not sandboxed.',
          solve: root
            ? '`bellows up` installs it where there is apt; else install the package bubblewrap.'
            : 'Install it: sudo apt-get install bubblewrap',
        },
    cgroup === 'none'
      ? {
          level: 'problem',
          what: 'There is no cgroup with a memory controller.',
          why: 'Without it, limits of memory and CPU are not enforced.',
          solve: 'Boot with cgroup v2, or mount /sys/fs/cgroup into this container.',
        }
      : { level: 'ok', what: `cgroup ${cgroup}.` },
    root
      ? { level: 'ok', what: 'Running as root.' }
      : {
          level: 'note',
          what: 'Not running as root.',
          why: 'Tenants do not get users of their own, and limits need cgroup v2 delegated to this user.',
          solve: 'Run as root, or as a service with Delegate=yes under systemd.',
        },
  ];
}
