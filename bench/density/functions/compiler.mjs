// A module of some hundreds of lines is parsed, and printed anew by a formatter.
import { createHash } from 'node:crypto';
import * as babel from 'prettier/plugins/babel';
import * as estree from 'prettier/plugins/estree';
import { format } from 'prettier/standalone';

function source(seed) {
  const one = (n) => `
export   class Service${n} extends Base { #state = { n:${n}, seed:${seed}, list:[1,2,3 , ${n}] }
  async run (request, {retries=3,   timeout = ${n * 10}} = {}) { for (let i=0;i<retries;i++) { try {
    const {data, ...rest} = await this.client.call("method${n}", {...request, attempt:i, path:\`/v\${i}/\${request.id}\`})
    if (data?.items?.length>0 && rest.ok!==false) return data.items.filter(x=>x.size> ${n}).map(({id,size})=>({id, size:size*2}))
    } catch (error) { if (i===retries-1||error.fatal) throw new Error('call ${n} failed', {cause:error}); await delay(timeout*2**i) } } } }`;
  return Array.from({ length: 40 }, (_, n) => one(n)).join('\n');
}

export const work = async (seed) => {
  const printed = await format(source(seed), { parser: 'babel', plugins: [babel, estree] });
  return createHash('sha256').update(printed).digest('hex');
};
