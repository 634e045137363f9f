// The members of CreateFunction and UpdateFunctionConfiguration: their constraints, as in the API reference, and
// what Bellows does not have. Unknown members are ignored, as AWS does; what would change how code runs is refused.
import { z } from 'zod';
import { mib, type Bytes } from '../../base/quantity.ts';
import { reservedEnv } from '../../controller/env.ts';
import type { PartialResources } from '../../model/resources.ts';
import type { RuntimeName } from '../../model/workload.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import { functionRuntime, functionRuntimeNames } from '../runtimes.ts';

/** Lambda's quota of a function's environment. */
const maxEnvironmentBytes = 4_096;
const maxTags = 50;

/** Accepted and looked at only by {@link refuseUnsupported}. */
const unsupported = z.unknown().optional();

export const tagsMember = z.record(z.string().min(1).max(128), z.string().max(256));

export const configurationMembers = {
  Runtime: z.string().optional(),
  Handler: z
    .string()
    .max(128)
    .regex(/^[^\s]+$/)
    .optional(),
  Description: z.string().max(256).optional(),
  Timeout: z.int().min(1).max(900).optional(),
  MemorySize: z.int().min(128).max(10_240).optional(),
  Environment: z
    .object({ Variables: z.record(z.string().regex(/^[a-zA-Z]([a-zA-Z0-9_])+$/), z.string()).optional() })
    .optional(),
  EphemeralStorage: z.object({ Size: z.int().min(512).max(10_240) }).optional(),
  Layers: unsupported,
  FileSystemConfigs: unsupported,
  VpcConfig: unsupported,
  DeadLetterConfig: unsupported,
  ImageConfig: unsupported,
  KMSKeyArn: unsupported,
  SnapStart: unsupported,
  TracingConfig: unsupported,
  LoggingConfig: unsupported,
  DurableConfig: unsupported,
  CapacityProviderConfig: unsupported,
  TenancyConfig: unsupported,
  CodeSigningConfigArn: unsupported,
};

export const roleMember = z
  .string()
  .regex(/^arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role\/?[a-zA-Z_0-9+=,.@\-_/]+$/);

type Members = Readonly<Record<string, unknown>>;

/** Whether a member asks for something: scripts often send empty ones, or those that name the default. */
const asksFor: Readonly<Record<string, (value: unknown) => boolean>> = {
  Layers: isFilled,
  FileSystemConfigs: isFilled,
  VpcConfig: (value) =>
    memberIs(value, 'SubnetIds', isFilled) || memberIs(value, 'SecurityGroupIds', isFilled),
  DeadLetterConfig: (value) => memberIs(value, 'TargetArn', (arn) => arn !== ''),
  ImageConfig: isFilled,
  KMSKeyArn: (value) => value !== '',
  SnapStart: (value) => memberIs(value, 'ApplyOn', (when) => when !== 'None'),
  TracingConfig: (value) => memberIs(value, 'Mode', (mode) => mode !== 'PassThrough'),
  LoggingConfig: (value) =>
    memberIs(value, 'LogFormat', (format) => format !== 'Text') ||
    memberIs(value, 'LogGroup', (group) => group !== ''),
  DurableConfig: isFilled,
  CapacityProviderConfig: isFilled,
  TenancyConfig: isFilled,
  CodeSigningConfigArn: (value) => value !== '',
  Publish: (value) => value === true,
  PublishTo: () => true,
};

function isFilled(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

function memberIs(value: unknown, name: string, test: (member: unknown) => boolean): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const member: unknown = Reflect.get(value, name);
  return member !== undefined && member !== null && test(member);
}

/** @throws LambdaError InvalidParameterValueException naming what Bellows does not have */
export function refuseUnsupported(members: Members): void {
  for (const [name, asks] of Object.entries(asksFor)) {
    const value = members[name];
    if (value === undefined || value === null || !asks(value)) continue;
    throw new LambdaError(
      'InvalidParameterValueException',
      `${name} is not supported by this Bellows${name.startsWith('Publish') ? ', which has no versions but $LATEST' : ''}. Leave it out.`,
    );
  }
}

/** @throws LambdaError InvalidParameterValueException in AWS's words */
export function runtimeOf(identifier: string): {
  readonly runtime: RuntimeName;
  readonly runtimeIdentifier: string;
} {
  const runtime = functionRuntime(identifier);
  if (runtime !== undefined) return { runtime, runtimeIdentifier: identifier };
  throw new LambdaError(
    'InvalidParameterValueException',
    `Value ${identifier.slice(0, 64)} at 'runtime' failed to satisfy constraint: ` +
      `Member must satisfy enum value set: [${functionRuntimeNames.join(', ')}] or be a valid ARN`,
  );
}

/** @throws LambdaError InvalidParameterValueException for reserved names, or more than 4 KB */
export function environmentOf(environment: {
  Variables?: Record<string, string> | undefined;
}): Record<string, string> {
  const variables = environment.Variables ?? {};
  const unable =
    'Lambda was unable to configure your environment variables because the environment variables you have provided';
  const reserved = Object.keys(variables).filter((name) => reservedEnv.has(name));
  if (reserved.length > 0) {
    throw new LambdaError(
      'InvalidParameterValueException',
      `${unable} contains reserved keys that are currently not supported for modification. Reserved keys used in this request: ${reserved.join(', ')}`,
    );
  }
  if (Buffer.byteLength(JSON.stringify(variables)) > maxEnvironmentBytes) {
    throw new LambdaError('InvalidParameterValueException', `${unable} exceeded the 4KB limit.`);
  }
  return variables;
}

/** @throws LambdaError InvalidParameterValueException */
export function checkTags(tags: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (Object.keys(tags).length > maxTags) {
    throw new LambdaError('InvalidParameterValueException', `A function can have at most ${maxTags} tags.`);
  }
  return tags;
}

export function sizeOf(members: {
  MemorySize?: number | undefined;
  EphemeralStorage?: { Size: number } | undefined;
}): PartialResources {
  return {
    ...(members.MemorySize === undefined ? {} : { memory: (members.MemorySize * mib) as Bytes }),
    ...(members.EphemeralStorage === undefined
      ? {}
      : { storage: (members.EphemeralStorage.Size * mib) as Bytes }),
  };
}
