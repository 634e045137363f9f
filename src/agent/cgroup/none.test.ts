import { cgroupContract } from './contract.ts';
import { CgroupNone } from './none.ts';

cgroupContract('no cgroup', () => new CgroupNone());
