import { runtimeContract } from '../contract.ts';
import { plan } from './testing/plan.ts';

runtimeContract('node', {
  plan,
  workloads: {
    echo: {
      handler: 'index.handler',
      files: {
        'index.mjs': `export const handler = async (event, context) => {
          console.log('seen ' + JSON.stringify(event));
          return { event, requestId: context.awsRequestId, memory: Number(context.memoryLimitInMB), remaining: context.getRemainingTimeInMillis() };
        };`,
      },
    },
    fails: {
      handler: 'index.handler',
      files: { 'index.mjs': `export const handler = async () => { throw new TypeError('no such thing'); };` },
    },
    doesNotLoad: { handler: 'index.handler', files: { 'index.mjs': `throw new Error('not today');` } },
    hangs: {
      handler: 'index.handler',
      files: { 'index.mjs': `export const handler = () => new Promise(() => {});` },
    },
    litters: {
      handler: 'index.handler',
      files: {
        'index.mjs': `export const handler = async ({ mib }) => {
          let keep = [];
          for (let i = 0; i < mib * 16; i++) keep.push(Array.from({ length: 8192 }, (_, n) => n + 0.5));
          return keep.length;
        };`,
      },
    },
    exits: {
      handler: 'index.handler',
      files: { 'index.mjs': `export const handler = async () => process.exit(3);` },
    },
  },
});
