// Which code is in which unit already: each is sent once. Owns remembering; the sending is code-transfer.ts.
import { basename } from 'node:path';
import type { InstanceSpec } from '../../protocol/agent.ts';
import type { Layout } from '../../sys/layout.ts';
import type { VmUnit } from '../vm/port.ts';
import { sendCode } from './code-transfer.ts';

/** What a guest names by its own directories, as the controller named it: both keep code by its tenant and its hash. */
export function outsideSpec(spec: InstanceSpec, layout: Layout): InstanceSpec {
  return { ...spec, codeDirectory: layout.codeOf(spec.tenant, basename(spec.codeDirectory)) };
}

export class UnitCode {
  readonly #sent = new WeakMap<VmUnit, Map<string, Promise<void>>>();
  readonly #send: typeof sendCode;

  constructor(send: typeof sendCode = sendCode) {
    this.#send = send;
  }

  /** Resolves when the unit has the instance's code. */
  ensure(vm: VmUnit, spec: InstanceSpec): Promise<void> {
    const known = this.#sent.get(vm) ?? new Map<string, Promise<void>>();
    this.#sent.set(vm, known);
    const under = known.get(spec.codeDirectory);
    if (under !== undefined) return under;
    const { tenant, codeDirectory } = spec;
    const sending = this.#send(vm.door, {
      tenant,
      sha256: basename(codeDirectory),
      directory: codeDirectory,
    });
    known.set(codeDirectory, sending);
    // One that failed may be tried again.
    sending.catch(() => known.delete(codeDirectory));
    return sending;
  }
}
