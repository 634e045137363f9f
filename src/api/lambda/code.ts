// A function's code as it comes in a Lambda request: base64 of a zip. Says in AWS's words what is wrong with one.
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';
import type { SubmittedCode } from '../../controller/control-plane.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import { admitArchive, checkArchive } from '../archive/admit.ts';
import { maxArchiveBytes, maxUnpackedBytes } from '../archive/limits.ts';
import type { Call } from './operation.ts';

/** AWS's limit of the whole request: 50 MiB in base 64, and the rest of the document. */
export const codeRequestBytes = 70_167_211;

export const codeMembers = {
  ZipFile: z.string().optional(),
  ImageUri: z.string().optional(),
  S3Bucket: z.string().optional(),
  S3Key: z.string().optional(),
  S3ObjectVersion: z.string().optional(),
};

type CodeMembers = z.infer<z.ZodObject<typeof codeMembers>>;

function invalid(message: string): LambdaError {
  return new LambdaError('InvalidParameterValueException', message);
}

/** @throws LambdaError InvalidParameterValueException, RequestEntityTooLargeException */
export function zipOf(code: CodeMembers): Buffer {
  if (code.ImageUri !== undefined)
    throw invalid('Container images are not supported by this Bellows. Send the code as ZipFile.');
  if (code.S3Bucket !== undefined || code.S3Key !== undefined) {
    throw invalid('This Bellows has no S3 to fetch code from. Send the code as ZipFile.');
  }
  if (code.ZipFile === undefined) throw invalid('Please provide a source for function code.');
  const zip = Buffer.from(code.ZipFile, 'base64');
  if (zip.length > maxArchiveBytes) {
    throw new LambdaError(
      'RequestEntityTooLargeException',
      `Zipped size must be smaller than ${maxArchiveBytes} bytes`,
    );
  }
  const magic = zip.toString('latin1', 0, 4);
  if (zip.length === 0 || magic === 'PK\x05\x06') throw invalid('Uploaded file must be a non-empty zip');
  if (magic !== 'PK\x03\x04') throw couldNotUnzip('It is not a zip.');
  return zip;
}

function couldNotUnzip(why: string): LambdaError {
  return invalid(`Could not unzip uploaded file. Please check your file, then try to upload again. (${why})`);
}

function inAwsWords(thrown: unknown): never {
  if (!(thrown instanceof BellowsError)) throw thrown;
  if (thrown.code === 'ArchiveTooLarge') {
    throw invalid(`Unzipped size must be smaller than ${maxUnpackedBytes} bytes (${thrown.message})`);
  }
  if (thrown.code === 'InvalidArchive' || thrown.code === 'UnsafeArchive')
    throw couldNotUnzip(thrown.message);
  throw thrown;
}

/** @throws LambdaError InvalidParameterValueException */
export async function admitCode(
  { control, layout, caller }: Call<unknown>,
  zip: Buffer,
): Promise<SubmittedCode> {
  const admitted = admitArchive({ control, layout }, caller.id, zip, async () => undefined);
  return (await admitted.catch(inAwsWords)).code;
}

/** For a dry run. @throws as {@link admitCode} */
export async function checkCode({ layout, caller }: Call<unknown>, zip: Buffer): Promise<SubmittedCode> {
  return await checkArchive(layout, caller.id, zip).catch(inAwsWords);
}
