// The guest's root: packages unpacked into a directory, with Node and the files of images/guest/root, made into one
// read-only erofs file. Owns what is in it; where packages come from is packages.ts.
import {
  chmodSync,
  copyFileSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aliasIndex, modulesIndex, type KernelModule } from './kernel-modules.ts';
import { output } from './tools.ts';

/** images/guest: of a checkout and of the npm package alike. */
export const staticFiles = fileURLToPath(new URL('../../../../images/guest', import.meta.url));

/** Not for reading by programs, and most of what packages hold. */
const leftOut = [
  './usr/share/doc',
  './usr/share/man',
  './usr/share/info',
  './usr/share/locale',
  './usr/share/lintian',
  './usr/share/bug',
  './usr/share/bash-completion',
  './usr/share/pixmaps',
  './usr/share/applications',
  './usr/lib/x86_64-linux-gnu/gconv',
  './lib/systemd',
  './usr/lib/systemd',
  './lib/udev',
  './usr/lib/python3*/test',
  './usr/lib/python3*/idlelib',
  './usr/lib/python3*/ensurepip',
  './usr/lib/python3*/pydoc_data',
];
/** Where file systems are mounted, and what programs expect to be there. */
const directories =
  'dev proc sys run tmp root etc/ssl/certs opt/node/bin var/lib/bellows var/tmp opt/bellows usr/local/bin'.split(
    ' ',
  );
/** A Debian of these days keeps all programs and libraries below /usr. */
const merged = ['bin', 'sbin', 'lib', 'lib64'];

/** Of the file system's own: the same for the same content. */
const fileSystemUuid = 'be110b50-0000-4000-8000-000000000000';
/**
 * Compressed in clusters of 16 KiB: larger ones save little more, and each read of 4 KiB inflates a whole one, which an
 * emulated processor feels.
 */
const clusterBytes = 16 * 1024;

/** @param archives the packages' files */
export async function unpackPackages(archives: readonly string[], directory: string): Promise<void> {
  for (const name of directories) mkdirSync(join(directory, name), { recursive: true });
  for (const name of merged) {
    mkdirSync(join(directory, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(directory, name));
  }
  const exclude = leftOut.map((path) => `--exclude=${path}`);
  for (const archive of archives) {
    const content = await output('dpkg-deb', ['--fsys-tarfile', archive]);
    await output(
      'tar',
      ['-x', '--keep-directory-symlink', '--no-same-owner', '--same-permissions', ...exclude, '-f', '-'],
      {
        directory,
        input: content,
      },
    );
  }
}

/** Does what the packages' own scripts would do at their installation, as far as it is needed, and adds what is ours. */
export function completeRoot(directory: string, nodeBinary: string): void {
  const at = (path: string): string => join(directory, path);
  copyFileSync(nodeBinary, at('opt/node/bin/node'));
  chmodSync(at('opt/node/bin/node'), 0o755);
  linkOnce('dash', at('usr/bin/sh'));
  linkOnce('../usr/share/zoneinfo/Etc/UTC', at('etc/localtime'));
  linkOnce('/proc/self/mounts', at('etc/mtab'));
  trustCertificates(directory);
  cpSync(join(staticFiles, 'root'), directory, { recursive: true });
  for (const name of readdirSync(at('etc/init.d'))) chmodSync(at(`etc/init.d/${name}`), 0o755);
}

/** All of Mozilla's, in one file where OpenSSL looks by default. */
function trustCertificates(directory: string): void {
  const source = join(directory, 'usr/share/ca-certificates/mozilla');
  const certificates = readdirSync(source)
    .filter((name) => name.endsWith('.crt'))
    .sort()
    .map((name) => readFileSync(join(source, name), 'utf8').trimEnd());
  writeFileSync(join(directory, 'etc/ssl/certs/ca-certificates.crt'), `${certificates.join('\n')}\n`);
  mkdirSync(join(directory, 'usr/lib/ssl'), { recursive: true });
  linkOnce('/etc/ssl/certs/ca-certificates.crt', join(directory, 'usr/lib/ssl/cert.pem'));
  linkOnce('/etc/ssl/certs', join(directory, 'usr/lib/ssl/certs'));
}

/** Busybox under the names of all commands that nothing else brings. */
export async function linkCommands(directory: string): Promise<void> {
  // Debian's lies in /bin, which is /usr/bin.
  const list = await output(join(directory, 'usr/bin/busybox'), ['--list-full']);
  for (const path of list.toString().trim().split('\n')) {
    const name = path.split('/').at(-1) as string;
    const folder = /(^|\/)sbin\//.test(path) ? 'usr/sbin' : 'usr/bin';
    if (['usr/bin', 'usr/sbin'].some((one) => isThere(join(directory, one, name)))) continue;
    linkOnce('/usr/bin/busybox', join(directory, folder, name));
  }
}

/** For everybody to read, and nothing's to become another user by, whatever packages and this process's umask say. */
export function settleModes(directory: string): void {
  chmodSync(directory, 0o755);
  // Not by a recursive readdir, which follows links to directories: of the guest's, many lead into this machine's /etc.
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) settleModes(path);
    else if (entry.isFile()) chmodSync(path, (statSync(path).mode & 0o111) === 0 ? 0o644 : 0o755);
  }
}

/** Where the kernel looks for modules that it needs later. */
export function addModules(directory: string, version: string, modules: readonly KernelModule[]): void {
  const root = join(directory, 'usr/lib/modules', version);
  for (const { path, content } of modules) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  writeFileSync(join(root, 'modules.dep'), modulesIndex(modules));
  writeFileSync(join(root, 'modules.alias'), aliasIndex(modules));
}

export async function makeFileSystem(directory: string, file: string): Promise<void> {
  await output('mkfs.erofs', [
    '--quiet',
    ...['-zlz4hc', `-C${clusterBytes}`],
    ...['-T0', `-U${fileSystemUuid}`, '--all-root', '-x-1'],
    file,
    directory,
  ]);
}

function linkOnce(target: string, path: string): void {
  if (!isThere(path)) symlinkSync(target, path);
}

/** Also when it is a link: where it leads is the guest's matter, and may be anything on this machine. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
