// Runs a function through the Lambda API, signed with the tenant's keys, as any AWS tool would.
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { signedHeaders } from '../aws-request.ts';
import { command } from '../command.ts';
import type { Context } from '../context.ts';
import { exitCode } from '../exit-code.ts';
import { CommandError, usageError } from '../failure.ts';
import { tenantOption, toWorkload, workloadArgument, workloadFields } from '../fields.ts';
import { printable } from '../output.ts';
import { messageOf } from '../../base/errors.ts';

const lambdaError = z.looseObject({ Message: z.string().optional(), message: z.string().optional() });

export const invoke = command({
  name: 'invoke',
  summary: 'run a function and print what it returns',
  arguments: [workloadArgument],
  options: [
    { flags: '--data <json>', description: 'the event: JSON, @FILE, or - for standard input (default: {})' },
    { flags: '--tail', description: "also print the end of the invocation's log, on stderr" },
    tenantOption,
  ],
  examples: [
    `bellows invoke hello --data '{"name":"Ada"}'`,
    'bellows invoke thumbnails --data @event.json --tail',
  ],
  args: z.object({ ...workloadFields, data: z.string().default('{}'), tail: z.boolean().optional() }),
  handler: async ({ data, tail, ...ref }, ctx) => {
    const { tenant, name } = toWorkload(ref);
    const body = await readEvent(data, ctx);
    const url = new URL(`${ctx.client.url}/2015-03-31/functions/${name}/invocations`);
    const unsigned = {
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', ...(tail === true ? { 'x-amz-log-type': 'Tail' } : {}) },
      body,
    };
    const headers = signedHeaders(unsigned, ctx.installation.keysOf(tenant), new Date());
    const response = await ctx.client.fetch(url.pathname, { method: 'POST', headers, body });
    const payload = await response.text();
    if (!response.ok) throw refusal(response, payload);
    const log = response.headers.get('x-amz-log-result');
    if (log !== null) ctx.out.note(printable(Buffer.from(log, 'base64').toString()).trimEnd());
    const failed = response.headers.has('x-amz-function-error');
    if (ctx.options.json)
      ctx.out.json({ outcome: failed ? 'functionError' : 'ok', payload: jsonOrText(payload) });
    else ctx.out.line(shown(payload));
    if (failed && !ctx.options.json)
      ctx.out.note(`error: The function failed; \`bellows logs ${name}\` shows its log.`);
    return failed ? exitCode.failed : exitCode.ok;
  },
});

async function readEvent(data: string, { stdin }: Context): Promise<Uint8Array<ArrayBuffer>> {
  let text = data;
  if (data === '-') {
    const chunks: Uint8Array[] = [];
    for await (const chunk of stdin) chunks.push(chunk);
    text = Buffer.concat(chunks).toString();
  } else if (data.startsWith('@')) {
    try {
      text = await readFile(data.slice(1), 'utf8');
    } catch (thrown) {
      throw usageError(
        `--data: ${data.slice(1)} can not be read: ${messageOf(thrown)}.`,
        'Name a file that holds JSON: --data @event.json',
      );
    }
  }
  try {
    JSON.parse(text);
  } catch (thrown) {
    throw usageError(
      `--data is not JSON: ${messageOf(thrown)}.`,
      `Write it like --data '{"name":"Ada"}', --data @FILE, or --data - for standard input.`,
    );
  }
  return new Uint8Array(Buffer.from(text));
}

/** A JSON string is shown as JSON, everything else indented for a person. */
function shown(payload: string): string {
  const value = jsonOrText(payload);
  return typeof value === 'object' && value !== null ? JSON.stringify(value, null, 2) : payload;
}

function jsonOrText(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}

function refusal(response: Response, payload: string): CommandError {
  const parsed = lambdaError.safeParse(jsonOrText(payload));
  const message = parsed.success ? (parsed.data.Message ?? parsed.data.message) : undefined;
  const code = response.headers.get('x-amzn-errortype')?.split(':')[0];
  return new CommandError(
    exitCode.failed,
    `${code === undefined ? '' : `${code}: `}${message ?? `answered with status ${response.status}`}`,
    code === 'ResourceNotFoundException'
      ? '`bellows ps` lists what runs; `bellows deploy DIR` deploys a function.'
      : undefined,
    code,
  );
}
