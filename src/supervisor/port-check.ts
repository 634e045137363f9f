// Whether the port can be listened on, said before anything is started.
import { createServer } from 'node:net';
import { BellowsError, messageOf } from '../base/errors.ts';

/** @throws BellowsError with what to do when it is taken or not allowed */
export async function checkPort(host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => reject(refusal(host, port, error)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}

function refusal(host: string, port: number, error: Error): BellowsError {
  const code = 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return new BellowsError(
        'Conflict',
        `Port ${port} of ${host} is in use by another program.`,
        `Choose another, e.g. bellows up --port ${port === 65_535 ? 8080 : port + 1}, or stop that program.`,
      );
    case 'EACCES':
      return new BellowsError(
        'Forbidden',
        `This user may not listen on port ${port}: ports below 1024 are root's.`,
        'Choose one from 1024 on: bellows up --port 8080',
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new BellowsError(
        'BadRequest',
        `${host} is no address of this machine.`,
        'Leave --host away for this machine alone, or give 0.0.0.0 for all its addresses.',
      );
    default:
      return new BellowsError(
        'Unavailable',
        `Nothing can listen on ${host}, port ${port}: ${messageOf(error)}.`,
        'Choose another port with --port N.',
        { cause: error },
      );
  }
}
