// Links by which whoever holds one may download a function's archive, for a while: Lambda's `Code.Location`.
// Owns signing and checking. The key comes from the admin's token, so that links outlive a restart.
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BellowsError } from '../base/errors.ts';
import { parseTenantId, parseWorkloadName } from '../base/ids.ts';
import type { ControlPlane } from '../controller/control-plane.ts';
import type { Workload } from '../model/workload.ts';
import type { Answer } from './http/answer.ts';
import { pathSegments } from './http/template.ts';

/** AWS's links are good for ten minutes. */
const lifeMs = 600_000;
export const codeLinkPrefix = '/v1/code/';

export class CodeLinks {
  readonly #key: Buffer;
  readonly #nowMs: () => number;

  constructor(adminToken: string, nowMs: () => number) {
    this.#key = Buffer.from(hkdfSync('sha256', adminToken, '', 'bellows code link', 32));
    this.#nowMs = nowMs;
  }

  /** A whole URL, by the host that the caller itself used. */
  urlOf(workload: Workload, request: IncomingMessage): string {
    const path = `${codeLinkPrefix}${workload.key}/${workload.codeSha256}`;
    const expires = String(this.#nowMs() + lifeMs);
    const signature = this.#sign(path, expires).toString('base64url');
    return `http://${request.headers.host ?? 'localhost'}${path}?expires=${expires}&signature=${signature}`;
  }

  /** @throws BellowsError Forbidden for a link that is not ours or is over, NotFound when the code was replaced */
  async answer(control: ControlPlane, path: string, search: string): Promise<Answer> {
    const query = new URLSearchParams(search);
    const expires = query.get('expires') ?? '';
    const given = Buffer.from(query.get('signature') ?? '', 'base64url');
    const expected = this.#sign(path, expires);
    if (
      given.length !== expected.length ||
      !timingSafeEqual(given, expected) ||
      Number(expires) < this.#nowMs()
    ) {
      throw new BellowsError(
        'Forbidden',
        'The link is not valid, or no longer.',
        'Call GetFunction for a new one.',
      );
    }
    const [tenant, name, sha256] = pathSegments(path)?.slice(2) ?? [];
    const workload = control.getWorkload(parseTenantId(tenant), parseWorkloadName(name));
    if (workload.codeSha256 !== sha256) {
      throw new BellowsError(
        'NotFound',
        'The code was replaced since the link was made.',
        'Call GetFunction for a new one.',
      );
    }
    const bytes = await control.codeArchive(workload);
    return {
      status: 200,
      bytes,
      mediaType: 'application/octet-stream',
      headers: {
        'Content-Disposition': `attachment; filename="${workload.name}${isGzip(bytes) ? '.tar.gz' : '.zip'}"`,
      },
    };
  }

  #sign(path: string, expires: string): Buffer {
    return createHmac('sha256', this.#key).update(`${path}\n${expires}`).digest();
  }
}

function isGzip(bytes: Buffer): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}
