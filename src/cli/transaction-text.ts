// A transaction for a person, and as an exit code.
import type { Transaction } from './answers.ts';
import type { Context } from './context.ts';
import { exitCode, type ExitCode } from './exit-code.ts';

type Change = Transaction['instances'][number]['changes'][number];

/** A plan is an answer, not a change: it is well when it could be done. */
export function exitCodeOf({ status, plan }: Transaction): ExitCode {
  if (status === 'applied') return exitCode.ok;
  if (status === 'infeasible') return exitCode.failed;
  return plan ? exitCode.ok : exitCode.deferred;
}

export function showTransaction(transaction: Transaction, { out, options }: Context): ExitCode {
  if (options.json) {
    out.json(transaction);
    return exitCodeOf(transaction);
  }
  const { status, reason, plan, durationMs, connections } = transaction;
  const colour = status === 'applied' ? 'green' : status === 'deferred' ? 'yellow' : 'red';
  const took = `${durationMs < 10 ? durationMs.toFixed(1) : Math.round(durationMs)} ms`;
  const dropped = connections.dropped === 0 ? 'none dropped' : `${connections.dropped} dropped`;
  out.line(
    plan
      ? `Planned, nothing was done: ${out.style(colour, status)}${reason === '' ? '' : `: ${reason}`}`
      : `${out.style(colour, status)} in ${took}; ${connections.open} connections open, ${dropped}${reason === '' ? '' : `\n${reason}`}`,
  );
  const rows = [
    ...transaction.tenants.flatMap(({ tenant, changes }) =>
      changes.map((each) => rowOf(`tenant ${tenant}`, each)),
    ),
    ...transaction.instances.flatMap(({ instance, workload, changes }) =>
      changes.map((each) => rowOf(`${workload} ${instance}`, each)),
    ),
  ];
  out.table(
    ['WHAT', 'RESOURCE', 'BEFORE', plan ? 'WANTED' : 'NOW', 'STATUS', 'REASON'],
    rows,
    'Nothing that runs is changed. What sleeps has it when it wakes, and what starts has it from the start.',
  );
  if (status === 'deferred' && !plan)
    out.note('It is applied by itself as soon as usage allows; nothing was killed.');
  return exitCodeOf(transaction);

  function rowOf(what: string, change: Change): string[] {
    const now = plan ? change.wanted : change.after;
    return [
      what,
      change.resource,
      String(change.before ?? 'none'),
      String(now ?? 'none'),
      change.status,
      change.reason,
    ];
  }
}
