// Makes a command line of the commands. Owns parsing (through commander) and how a command's end becomes an exit code.
import { Command as Commander, CommanderError } from 'commander';
import type { Command } from './command.ts';
import { makeContext, type Context } from './context.ts';
import { exitCode, type ExitCode } from './exit-code.ts';
import { failureOf, Interruption, usageError } from './failure.ts';
import type { GlobalOptions } from './installation.ts';

export interface Surroundings extends Pick<Context, 'out' | 'env' | 'stdin' | 'signal'> {
  readonly version: string;
}

/** Runs one command line, given without the program's name. Never throws. */
export async function runCommandLine(
  commands: readonly Command[],
  argv: readonly string[],
  surroundings: Surroundings,
): Promise<ExitCode> {
  let result: ExitCode = exitCode.ok;
  const program = buildProgram(commands, surroundings, (code) => (result = code));
  try {
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      return exitCode.usage;
    }
    await program.parseAsync(argv, { from: 'user' });
    return result;
  } catch (thrown) {
    const reason: unknown = surroundings.signal.reason;
    if (reason instanceof Interruption) return reason.exitCode;
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCode.ok : exitCode.usage;
    const failure = failureOf(thrown);
    surroundings.out.note(failure.text);
    return failure.exitCode;
  }
}

function buildProgram(
  commands: readonly Command[],
  surroundings: Surroundings,
  onEnd: (code: ExitCode) => void,
): Commander {
  const { out } = surroundings;
  const program = new Commander('bellows')
    .description(
      'Runs code on demand on your machines, and moves memory, CPU, storage and bandwidth between what runs, live.',
    )
    .version(surroundings.version, '--version', 'print the version')
    .helpOption('-h, --help', 'print help');
  configure(program, out);
  const groups = new Map<string, Commander>();
  for (const command of commands) {
    const words = command.name.split(' ');
    const last = words.at(-1) ?? command.name;
    let parent = program;
    for (const word of words.slice(0, -1)) {
      parent = groups.get(word) ?? parent.command(word).description(`${word}: see bellows ${word} --help`);
      configure(parent, out);
      groups.set(word, parent);
    }
    addCommand(parent, last, command, surroundings, onEnd);
  }
  return program;
}

function addCommand(
  parent: Commander,
  word: string,
  command: Command,
  surroundings: Surroundings,
  onEnd: (code: ExitCode) => void,
): void {
  const cli = parent.command(word, { isDefault: command.isDefault === true }).description(command.summary);
  configure(cli, surroundings.out);
  for (const { name, description } of command.arguments ?? []) cli.argument(name, description);
  for (const { flags, description } of command.options ?? []) cli.option(flags, description);
  cli
    .option('--json', 'print JSON')
    .option('--url <url>', 'where Bellows is (BELLOWS_URL)')
    .option('--token <token>', "the admin's token (BELLOWS_TOKEN)")
    .option('--data-dir <directory>', 'the data directory with credentials.json (BELLOWS_DATA, ~/.bellows)');
  if (command.examples !== undefined)
    cli.addHelpText('after', `\nExamples:\n${command.examples.map((line) => `  ${line}`).join('\n')}`);
  cli.action(async () => {
    const given = cli.opts<Record<string, unknown>>();
    const { json, url, token, dataDir, ...options } = given;
    const globals: GlobalOptions = {
      json: json === true,
      url: textOf(url),
      token: textOf(token),
      dataDir: textOf(dataDir),
    };
    const positional = Object.fromEntries(
      cli.registeredArguments.map((argument, index) => [
        argument.name(),
        cli.processedArgs[index] as unknown,
      ]),
    );
    onEnd(
      await command.run({ ...options, ...positional }, makeContext({ ...surroundings, options: globals })),
    );
  });
}

function configure(cli: Commander, out: Surroundings['out']): void {
  cli
    .exitOverride()
    .showHelpAfterError('(--help lists what can be given)')
    .configureOutput({
      writeOut: (text) => out.raw(text),
      writeErr: (text) => out.streams.stderr.write(text),
    });
}

function textOf(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string' && value !== '') return value;
  throw usageError('An option was given an empty value.', 'Give it a value, or leave it away.');
}
