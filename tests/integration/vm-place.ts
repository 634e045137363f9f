// A data directory with a driver of virtual machines and one template for all tests of a file, and what may not be left of it.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { detectCgroup } from '../../src/agent/cgroup/detect.ts';
import type { Cgroup } from '../../src/agent/cgroup/port.ts';
import type { UnitId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { Accelerator } from '../../src/units/vm/accelerator.ts';
import { QemuDriver } from '../../src/units/vm/driver.ts';
import { guestImage } from '../../src/units/vm/image/guest-image.ts';
import type { GuestImage } from '../../src/units/vm/image/port.ts';
import { directoryHash } from '../../src/units/vm/network/names.ts';

export const unitSize = {
  memory: 256 * mib,
  cpu: 1_000,
  storage: 256 * mib,
  bandwidth: 100_000_000,
} as Resources;

export interface VmPlaceOptions {
  /** Default: the image that Bellows builds. */
  readonly image?: GuestImage;
  /** Default: emulation. */
  readonly accelerator?: Accelerator;
  /** Default: a new one. Of another process's, whose units are its own too; that one removes it. */
  readonly existing?: { readonly data: string; readonly cgroupRoot: string };
}

export class VmPlace {
  readonly data: string;
  readonly cgroupRoot: string;
  readonly cgroup: Cgroup;
  readonly hash: string;
  readonly defects: string[] = [];
  readonly #image: GuestImage;
  readonly #accelerator: Accelerator;
  #units = 0;

  private constructor(
    { data, cgroupRoot }: NonNullable<VmPlaceOptions['existing']>,
    { image, accelerator }: Required<Pick<VmPlaceOptions, 'image' | 'accelerator'>>,
  ) {
    this.data = data;
    this.cgroupRoot = cgroupRoot;
    this.cgroup = detectCgroup(cgroupRoot).cgroup;
    this.hash = directoryHash(data);
    this.#image = image;
    this.#accelerator = accelerator;
  }

  static async make(options: VmPlaceOptions = {}): Promise<VmPlace> {
    return new VmPlace(options.existing ?? newPlace(), {
      image: options.image ?? (await guestImage({ ownDirectory: null })),
      // What works everywhere: what is tested is the driver, not the processor.
      accelerator: options.accelerator ?? { kind: 'tcg', why: 'a test' },
    });
  }

  driver(): Promise<QemuDriver> {
    return QemuDriver.create({
      image: this.#image,
      dataDirectory: this.data,
      cgroup: this.cgroup,
      accelerator: this.#accelerator,
      ownPort: null,
      onDefect: (error, context) => this.defects.push(`${context}: ${String(error)}`),
    });
  }

  newId(): UnitId {
    return `u-${(this.#units += 1)}` as UnitId;
  }

  runDirectory(id: UnitId): string {
    return join(this.data, 'run/u', id);
  }

  /** Everything on this machine that has this data directory in its name, but for templates and what is empty. */
  leftovers(): string[] {
    const files = ['units', 'scratch', 'run/u'].flatMap((directory) => {
      const path = join(this.data, directory);
      return existsSync(path) ? readdirSync(path).map((name) => join(directory, name)) : [];
    });
    const links = readdirSync('/sys/class/net').filter((name) => name.startsWith(`bw${this.hash}`));
    const loops = execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], {
      encoding: 'utf8',
    })
      .split('\n')
      .filter((line) => line.includes(this.data));
    const groups = [...this.cgroup.children(['pool']), ...this.cgroup.children(['tenants'])];
    return [...files, ...links, ...loops, ...groups, ...this.processes()].filter(
      (name) => !name.endsWith('-br'),
    );
  }

  processes(): string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`bellows-${this.hash}-`);
        } catch {
          return false;
        }
      });
  }

  async remove(): Promise<void> {
    await this.cgroup.kill([]);
    await this.cgroup.remove([]);
    rmSync(this.data, { recursive: true, force: true });
  }
}

function newPlace(): NonNullable<VmPlaceOptions['existing']> {
  const data = mkdtempSync(join(tmpdir(), 'bellows-vm-'));
  return { data, cgroupRoot: `bellows-test-vm-${process.pid}-${data.slice(-6)}` };
}
