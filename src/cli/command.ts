// What a command is: data. program.ts makes a command line of it; the handler gets what was given, validated.
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';
import type { Context } from './context.ts';
import type { ExitCode } from './exit-code.ts';
import { usageError } from './failure.ts';

interface CommandText {
  /** Several words make a subcommand: `limits set`. */
  readonly name: string;
  readonly summary: string;
  /** Runs when its group is given alone: `tenants` is `tenants list`. */
  readonly isDefault?: boolean;
  /** In commander's notation: `<name>`, `[tenant]`. */
  readonly arguments?: readonly { readonly name: string; readonly description: string }[];
  /** In commander's notation: `--memory <quantity>`, `--plan`, `-f, --follow`. */
  readonly options?: readonly { readonly flags: string; readonly description: string }[];
  readonly examples?: readonly string[];
}

export interface CommandSpec<A> extends CommandText {
  /** Arguments and options by their names (camelCase), as commander gives them: text, or true and false. */
  readonly args: z.ZodType<A>;
  readonly handler: (args: A, ctx: Context) => Promise<ExitCode>;
}

/** A command whose types have done their work. */
export interface Command extends CommandText {
  readonly run: (input: Readonly<Record<string, unknown>>, ctx: Context) => Promise<ExitCode>;
}

export function command<A>({ args, handler, ...text }: CommandSpec<A>): Command {
  return { ...text, run: (input, ctx) => handler(parseArgs(text.name, args, input), ctx) };
}

function parseArgs<A>(name: string, schema: z.ZodType<A>, input: unknown): A {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path.map(String).join('.') ?? '';
  const hint: unknown = issue?.code === 'custom' ? issue.params?.['hint'] : undefined;
  throw usageError(
    `${field === '' ? '' : `${field}: `}${issue?.message ?? 'not valid'}`,
    typeof hint === 'string' ? hint : `See: bellows ${name} --help`,
  );
}

/** A field that one of the model's own parsers reads; what it throws becomes the message. */
export function parsedField<T>(parse: (input: string) => T): z.ZodType<T, string> {
  return z.string().transform((input, context) => {
    try {
      return parse(input);
    } catch (thrown) {
      if (!(thrown instanceof BellowsError)) throw thrown;
      context.addIssue({ code: 'custom', message: thrown.message, params: { hint: thrown.hint } });
      return z.NEVER;
    }
  });
}
