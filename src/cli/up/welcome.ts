// What `bellows up` says when it serves: where to look, and commands to try that work with what is deployed. With the
// examples they are the three of README.md. Owns the words; pure.

export interface WelcomeFacts {
  readonly url: string;
  /** Where TLS is served, and whom clients are to trust where the certificate is our own. */
  readonly secure?: { readonly url: string; readonly authority: string | undefined } | undefined;
  readonly dataDirectory: string;
  readonly credentialsPath: string;
  readonly logPath: string;
  /** How the command is called from a terminal: `bellows`, or `npx bellows`. */
  readonly program: string;
  /** Whether commands find this data directory without being told. */
  readonly isDefaultData: boolean;
  /** Of the default tenant: with --no-examples, or when installing failed, or after a deletion, examples are missing. */
  readonly deployed: ReadonlySet<string>;
  /** Where the example `hello` lies, to deploy it by hand. */
  readonly helloDirectory: string;
}

export function welcome(facts: WelcomeFacts): string {
  const { url, deployed } = facts;
  return [
    '',
    'Bellows is ready.',
    `  address      ${url}`,
    ...(facts.secure === undefined ? [] : secureLines(facts.secure)),
    `  dashboard    ${url}/`,
    ...(deployed.has('chat') ? [`  chat         ${url}/w/default/chat/`] : []),
    `  data         ${facts.dataDirectory}`,
    `  credentials  ${facts.credentialsPath}`,
    `  log          ${facts.logPath}`,
    '',
    'Try, in another terminal:',
    ...commands(facts).map((line) => `  ${line}`),
    '',
    'Ctrl-C stops it.',
    '',
  ].join('\n');
}

function secureLines({ url, authority }: NonNullable<WelcomeFacts['secure']>): string[] {
  const trust = authority === undefined ? '' : ` (clients trust it by ${authority})`;
  return [`  with TLS     ${url}${trust}`];
}

function commands({ program, deployed, helloDirectory, ...facts }: WelcomeFacts): string[] {
  const where = facts.isDefaultData ? '' : ` --data-dir ${quoted(facts.dataDirectory)}`;
  return [
    ...(deployed.has('hello') ? [] : [`deploy ${quoted(helloDirectory)}`]),
    `invoke hello --data '{"name":"Ada"}'`,
    ...(deployed.has('chat') ? ['resize chat --memory 256MiB'] : []),
    'ps',
  ].map((command) => `${program} ${command}${where}`);
}

/** As a POSIX shell reads it back. */
function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
