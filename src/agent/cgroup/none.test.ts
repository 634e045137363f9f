import { cgroupSuite } from './testing/suite.ts';
import { CgroupNone } from './none.ts';

cgroupSuite('no cgroup', () => new CgroupNone());
