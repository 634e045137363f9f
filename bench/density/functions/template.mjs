// An invoice page of a few thousand rows is made from a template.
import { createHash } from 'node:crypto';
import Handlebars from 'handlebars';

Handlebars.registerHelper('money', (cents) => `${(cents / 100).toFixed(2)} EUR`);
const page = Handlebars.compile(`<!doctype html><title>{{title}}</title><table>
{{#each groups}}<tbody><tr><th colspan="4">{{name}} ({{rows.length}})</th></tr>
{{#each rows}}<tr class="{{#if even}}even{{else}}odd{{/if}}"><td>{{@index}}</td><td>{{../name}}: {{text}}</td><td>{{quantity}}</td><td>{{money cents}}</td></tr>
{{/each}}</tbody>{{/each}}</table>`);

export const work = async (seed) => {
  const groups = Array.from({ length: 40 }, (_, group) => ({
    name: `Group ${group} <${seed}>`,
    rows: Array.from({ length: 250 }, (_, row) => ({
      even: row % 2 === 0,
      text: `Item ${row} & what belongs to it, number ${seed + row * group}`,
      quantity: row % 7,
      cents: row * 137 + group,
    })),
  }));
  return createHash('sha256')
    .update(page({ title: `Invoice ${seed}`, groups }))
    .digest('hex');
};
