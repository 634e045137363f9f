// The dashboard: shows what /v1 tells, again after every event and every few seconds. Names are others' text, so
// everything is written as text, never as markup. The admin's token stays in this tab.

const tokenKey = 'bellows-admin-token';
/** Figures change without events; a person does not read faster than this. */
const pollMs = 2_000;
/** Events come in bursts: one look after the burst is enough. */
const settleMs = 150;
const retryMs = 2_000;
const maxEvents = 100;

const element = (id) => document.getElementById(id);

class Refused extends Error {}

async function get(path, options = {}) {
  const response = await fetch(path, {
    ...options,
    headers: { authorization: `Bearer ${sessionStorage.getItem(tokenKey)}`, ...options.headers },
  });
  if (response.status === 401) throw new Refused('This token is not the right one.');
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response;
}

// Quantities come in notation; bars and sums need numbers.
const factors = {
  '': 1,
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

function amountOf(resource, text) {
  if (text === null) return null;
  const [, number, unit] = /^(-?[\d.]+)\s*([A-Za-z]*)/.exec(text) ?? [];
  if (number === undefined) return 0;
  if (resource === 'cpu') return Number(number) * (unit === 'm' ? 1 : 1000);
  return Number(number) * (factors[unit] ?? 1);
}

const titles = { memory: 'Memory', cpu: 'CPU', storage: 'Storage', bandwidth: 'Bandwidth' };
const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const decimalUnits = ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s'];

function shown(resource, amount) {
  if (resource === 'cpu') return `${(amount / 1000).toFixed(2)} CPU`;
  const [units, factor] = resource === 'bandwidth' ? [decimalUnits, 1000] : [binaryUnits, 1024];
  let unit = 0;
  let value = amount;
  while (value >= factor && unit < units.length - 1) {
    value /= factor;
    unit += 1;
  }
  return `${value.toFixed(value >= 100 || Number.isInteger(value) ? 0 : 1)} ${units[unit]}`;
}

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className !== undefined) node.className = className;
  return node;
}

/**
 * A bar of `whole`, in it what is granted, in that what is used; a line where the demand is. SVG, since its attributes need
 * no inline style.
 */
function meter(resource, used, granted, whole, demand = null) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('class', 'meter');
  svg.setAttribute('viewBox', '0 0 100 10');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  const label = `${shown(resource, used)} used of ${shown(resource, granted)} granted`;
  svg.setAttribute('aria-label', demand === null ? label : `${label}, ${shown(resource, demand)} demanded`);
  const partOf = (amount) => (whole > 0 ? Math.min(100, (100 * amount) / whole) : 0);
  for (const [className, amount] of [
    ['granted', granted],
    ['used', used],
  ]) {
    const bar = document.createElementNS(space, 'rect');
    bar.setAttribute('class', className);
    bar.setAttribute('height', '10');
    bar.setAttribute('width', String(partOf(amount)));
    svg.append(bar);
  }
  if (demand !== null) {
    const line = document.createElementNS(space, 'rect');
    line.setAttribute('class', 'demand');
    line.setAttribute('height', '10');
    line.setAttribute('width', '1');
    line.setAttribute('x', String(Math.min(99, partOf(demand))));
    svg.append(line);
  }
  return svg;
}

function cell(...children) {
  const node = make('td');
  node.append(...children);
  return node;
}

function row(...cells) {
  const node = make('tr');
  node.append(...cells);
  return node;
}

/** Fills a table's body. Each cell gets its column's title, which a narrow screen shows in place of the head. */
function fill(body, rows) {
  const columns = [...body.closest('table').tHead.rows[0].cells].map((head) => head.textContent);
  for (const { cells } of rows)
    if (cells.length > 1)
      for (const [index, one] of [...cells].entries()) one.dataset.column = columns[index];
  body.replaceChildren(...rows);
}

function emptyRow(columns, text) {
  const only = make('td', text, 'quiet');
  only.colSpan = columns;
  return row(only);
}

function renderLedger(ledger) {
  return ledger.map((line) => {
    const [capacity, granted, used] = [line.capacity, line.granted, line.used].map((text) =>
      amountOf(line.resource, text),
    );
    const tile = make('div', undefined, 'tile');
    tile.append(
      make('h3', titles[line.resource] ?? line.resource),
      meter(line.resource, used, granted, Math.max(capacity, granted)),
      make('div', `${shown(line.resource, used)} used, ${shown(line.resource, granted)} granted`),
      make('div', `of ${shown(line.resource, capacity)}`, 'quiet'),
    );
    return tile;
  });
}

function holdingOf(ledger, resource, tenant) {
  const line = ledger.find((candidate) => candidate.resource === resource);
  const held = line?.tenants.find((candidate) => candidate.tenant === tenant);
  const [limit, granted, used] = [held?.limit ?? null, held?.granted ?? '0', held?.used ?? '0'].map((text) =>
    amountOf(resource, text),
  );
  return { limit, granted, used, whole: limit ?? amountOf(resource, line?.capacity ?? '0') };
}

/** Marked, so that one that is on disk is told from one that runs at a glance. */
function stateCell(state) {
  const node = cell(make('span', state));
  node.dataset.state = state;
  return node;
}

/** What is in use of what is counted, and its limit. @param used null when no gateway says so */
function counted(used, limit) {
  const node = cell(make('span', used === null ? 'unknown' : String(used)));
  node.className = 'number';
  node.append(make('div', limit === null ? 'no limit' : `limit ${limit}`, 'quiet'));
  return node;
}

function renderTenants(tenants, ledger, workloads) {
  if (tenants.length === 0) return [emptyRow(7, 'No tenants yet.')];
  return tenants.map(({ id, limits, inUse }) => {
    const bars = ['memory', 'cpu'].map((resource) => {
      const { limit, granted, used, whole } = holdingOf(ledger, resource, id);
      const bound = limit === null ? 'no limit' : `limit ${shown(resource, limit)}`;
      return cell(
        meter(resource, used, granted, whole),
        make('span', `${shown(resource, used)}, ${bound}`, 'quiet'),
      );
    });
    return row(
      cell(make('span', id, 'name')),
      ...bars,
      make('td', String(workloads.filter((one) => one.tenant === id).length), 'number'),
      ...['connections', 'concurrency', 'requests'].map((kind) =>
        counted(inUse === null ? null : inUse[kind], limits[kind]),
      ),
    );
  });
}

/** Virtual machines alone: this machine is above. */
function renderUnits(units) {
  return units
    .filter(({ host }) => host !== null)
    .map((unit) => {
      const [provisioned, claimed, taken] = [
        unit.provisioned.memory,
        unit.claimed.memory,
        unit.host.memory,
      ].map((text) => amountOf('memory', text));
      return row(
        cell(make('span', unit.id, 'id')),
        make('td', unit.tenant ?? '', 'name'),
        stateCell(unit.state),
        cell(
          make('div', `${shown('memory', taken)} of the host`),
          make('div', `${shown('memory', claimed)} claimed of ${shown('memory', provisioned)}`, 'quiet'),
        ),
        make('td', String(unit.instances), 'number'),
      );
    });
}

/** More than one, that is: several serve, or one that was replaced finishes what it carries. */
function renderGateways(gateways) {
  if (gateways.length < 2) return [];
  return gateways.map(({ gateway, pid, state, connections }) =>
    row(
      make('td', String(gateway)),
      cell(make('span', `pid ${pid}`, 'id')),
      stateCell(state),
      make('td', connections === null ? 'unknown' : String(connections), 'number'),
    ),
  );
}

function renderInstances(instances) {
  if (instances.length === 0) return [emptyRow(6, 'Nothing runs now. Functions start when they are called.')];
  return instances.map((one) => {
    const bars = ['memory', 'cpu'].map((resource) => {
      const [grant, used] = [one[resource].grant, one[resource].used].map((text) => amountOf(resource, text));
      const { desired } = one[resource];
      const demand = amountOf(resource, one[resource].demand);
      const wanted = desired === undefined ? '' : `, to be ${shown(resource, amountOf(resource, desired))}`;
      return cell(
        meter(resource, used, grant, Math.max(grant, demand), demand),
        make('div', `${shown(resource, used)} of ${shown(resource, grant)}${wanted}`, 'quiet'),
        make('div', `demands ${shown(resource, demand)}`, 'quiet'),
      );
    });
    return row(
      cell(make('span', one.workload, 'name'), make('div', one.tenant, 'quiet')),
      cell(make('span', one.id, 'id'), make('div', `pid ${one.pid} in ${one.unit}`, 'quiet')),
      stateCell(one.state),
      ...bars,
      make('td', String(one.connections), 'number'),
    );
  });
}

async function refresh() {
  const paths = ['tenants', 'workloads', 'instances', 'ledger', 'units', 'gateways'];
  const answers = await Promise.all(
    paths.map((path) => get(`/v1/${path}`).then((response) => response.json())),
  );
  const [tenants, workloads, instances, ledger, units, gateways] = answers;
  element('ledger').replaceChildren(...renderLedger(ledger));
  fill(element('tenants'), renderTenants(tenants, ledger, workloads));
  const machines = renderUnits(units);
  fill(element('units'), machines);
  element('units-section').hidden = machines.length === 0;
  const several = renderGateways(gateways);
  fill(element('gateways'), several);
  element('gateways-section').hidden = several.length === 0;
  fill(element('instances'), renderInstances(instances));
}

function addEvent({ time, type, message }) {
  const item = make('li');
  const when = make('time', new Date(time).toLocaleTimeString());
  when.dateTime = time;
  item.append(when, make('span', type, 'id'), make('span', message));
  const list = element('events');
  list.prepend(item);
  while (list.childElementCount > maxEvents) list.lastElementChild.remove();
}

/** Server-sent events by hand: EventSource can not send the token. */
async function readEvents(signal, lastId, onOpen, onEvent) {
  const response = await get('/v1/events', {
    signal,
    headers: lastId === null ? {} : { 'last-event-id': lastId },
  });
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data !== undefined) onEvent(JSON.parse(data));
    }
  }
}

function setStatus(state, text) {
  element('status').dataset.state = state;
  element('status').textContent = text;
}

function show(connected) {
  element('login').hidden = connected;
  element('content').hidden = !connected;
  element('forget').hidden = !connected;
  if (!connected) setStatus('off', 'not connected');
}

let session;

function disconnect(refusal = '') {
  session?.abort();
  session = undefined;
  sessionStorage.removeItem(tokenKey);
  element('refusal').textContent = refusal;
  show(false);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Repeats `step` until the session ends; a refused token ends it, anything else is tried again. */
async function keepDoing(signal, step) {
  while (!signal.aborted) {
    try {
      await step();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) {
        disconnect(error.message);
        return;
      }
      setStatus('off', 'connection lost, trying again');
      await pause(retryMs);
    }
  }
}

function connect() {
  session = new AbortController();
  const { signal } = session;
  show(true);
  let wake = () => {};
  let lastId = null;
  /** Only then nothing that happens is missed. */
  let streaming = false;
  void keepDoing(signal, async () => {
    await refresh();
    if (signal.aborted) return;
    if (streaming) setStatus('live', 'live');
    // Until something happens, and then until the burst is over.
    await Promise.race([pause(pollMs), new Promise((resolve) => (wake = resolve))]);
    await pause(settleMs);
  });
  void keepDoing(signal, async () => {
    const opened = () => {
      streaming = true;
      wake();
    };
    const happened = (event) => {
      lastId = String(event.sequence);
      addEvent(event);
      wake();
    };
    await readEvents(signal, lastId, opened, happened).finally(() => (streaming = false));
    await pause(retryMs);
  });
}

element('login').addEventListener('submit', (event) => {
  event.preventDefault();
  element('refusal').textContent = '';
  sessionStorage.setItem(tokenKey, element('token').value.trim());
  element('token').value = '';
  connect();
});
element('forget').addEventListener('click', () => disconnect());

if (sessionStorage.getItem(tokenKey) === null) show(false);
else connect();
