// Which runtime identifiers callers may name, and what runs for each. Pure.
import type { RuntimeName } from '../model/workload.ts';

/**
 * Handlers written for an older Node are expected to run as they are, so the identifiers that Lambda still takes are
 * taken too, and Lambda's answers say them back; what runs is Node 26.
 */
const functionRuntimes: ReadonlyMap<string, RuntimeName> = new Map([
  ['nodejs20.x', 'nodejs26.x'],
  ['nodejs22.x', 'nodejs26.x'],
  ['nodejs24.x', 'nodejs26.x'],
  ['nodejs26.x', 'nodejs26.x'],
]);

export const functionRuntimeNames: readonly string[] = [...functionRuntimes.keys()];
/** An app may also be any command. */
export const appRuntimeNames: readonly string[] = [...functionRuntimeNames, 'custom'];

export function functionRuntime(identifier: string): RuntimeName | undefined {
  return functionRuntimes.get(identifier);
}

export function appRuntime(identifier: string): RuntimeName | undefined {
  return identifier === 'custom' ? 'custom' : functionRuntimes.get(identifier);
}
