// What a person sees: the chat and the dashboard in a real browser, while limits move.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { gatewayView, unitView } from '../../src/api/v1/views/machine.ts';
import { archiveOf } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { isWiderThanWindow, noBrowser, openPage, socketsOf, startBrowser } from '../support/browser.ts';
import { suiteNeeding } from '../support/needs.ts';

const messagesOf = (page: Page): Promise<string[]> => page.locator('#log .text').allTextContents();
const sequencesOf = (page: Page): Promise<string[]> => page.locator('#log .sequence').allTextContents();
const textOf = async (page: Page, selector: string): Promise<string> =>
  (await page.locator(selector).textContent()) ?? '';

async function say(page: Page, text: string): Promise<void> {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

const windows = (['light', 'dark'] as const).flatMap((colorScheme) =>
  [400, 1200].map((width) => ({ colorScheme, width })),
);

suiteNeeding('in a browser', noBrowser, () => {
  let bellows: Bellows;
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser();
    bellows = await Bellows.start();
    const deployed = await bellows.v1(
      'PUT',
      '/workloads/default/chat',
      await archiveOf('examples/chat', ['ws']),
    );
    expect(deployed.status, JSON.stringify(deployed.body)).toBe(201);
  });
  afterAll(async () => {
    await browser.close();
    await bellows.stop();
  });

  const byPath = (): string => `${bellows.url}/w/default/chat/`;
  const byHost = (): string => `http://chat.default.localhost:${bellows.port}/`;

  test('M-C3 M-E5: two windows, one by path and one by host name, talk on while memory and CPU change, and both show it', async () => {
    const ada = await openPage(browser, byPath());
    const grace = await openPage(browser, byHost());
    const both = [ada.page, grace.page];
    for (const page of both) {
      await eventually(async () => (await textOf(page, '#state')).startsWith('Connected as'));
      await eventually(async () => (await textOf(page, '#grant')) === 'May use 128MiB and 0.5 CPU');
    }
    const spoken: string[] = [];
    const talk = async (from: Page, text: string): Promise<void> => {
      spoken.push(text);
      await say(from, text);
      for (const page of both) await eventually(async () => (await messagesOf(page)).includes(text));
    };
    await talk(ada.page, 'before the change');
    await talk(grace.page, 'I hear you');

    for (const [memory, cpu, shown] of [
      ['256MiB', '1', 'May use 256MiB and 1 CPU'],
      ['96MiB', '250m', 'May use 96MiB and 0.25 CPU'],
      ['192MiB', '750m', 'May use 192MiB and 0.75 CPU'],
    ] as const) {
      const change = bellows.v1<{ status: string }>('PATCH', '/workloads/default/chat?wait=20', {
        memory,
        cpu,
      });
      await talk(ada.page, `while it becomes ${memory}`);
      expect((await change).body.status).toBe('applied');
      for (const page of both)
        await eventually(async () => (await textOf(page, '#grant')) === shown, { what: () => shown });
      await talk(grace.page, `now it is ${memory}`);
    }

    for (const { page, complaints } of [ada, grace]) {
      expect(await messagesOf(page)).toEqual(spoken);
      expect(await sequencesOf(page)).toEqual(spoken.map((_, index) => `#${index + 1}`));
      expect(await socketsOf(page)).toEqual({ made: 1, state: 1 });
      expect(complaints).toEqual([]);
      await page.context().close();
    }
  });

  test('a name that one gives oneself is shown to the others, and markup in messages stays text', async () => {
    const ada = await openPage(browser, byPath());
    const grace = await openPage(browser, byHost());
    await eventually(async () => (await textOf(ada.page, '#state')).startsWith('Connected as'));
    await eventually(async () => (await textOf(grace.page, '#state')).startsWith('Connected as'));
    await ada.page.fill('#name', 'Ada <b>');
    await ada.page.press('#name', 'Tab');
    await eventually(async () => (await textOf(ada.page, '#state')) === 'Connected as Ada <b>');
    const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    await say(ada.page, hostile);
    await eventually(async () => (await messagesOf(grace.page)).includes(hostile));
    expect(await grace.page.locator('#log .from').allTextContents()).toEqual(['Ada <b>']);
    expect(await grace.page.title()).toBe('Chat on Bellows');
    expect([...ada.complaints, ...grace.complaints]).toEqual([]);
    await ada.page.context().close();
    await grace.page.context().close();
  });

  test('without the slash at its end, the address leads to the chat too', async () => {
    const { page, complaints } = await openPage(browser, `${bellows.url}/w/default/chat`);
    await eventually(async () => (await textOf(page, '#state')).startsWith('Connected as'));
    expect(page.url()).toBe(byPath());
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the dashboard asks for the admin token, refuses a wrong one in words, and then shows what runs', async () => {
    const { page, complaints } = await openPage(browser, `${bellows.url}/`);
    await page.fill('#token', 'not the token');
    await page.press('#token', 'Enter');
    await eventually(async () => (await textOf(page, '#refusal')).includes('not the right one'));
    expect(await page.locator('#content').isVisible()).toBe(false);
    // The browser itself reports a refused request; nothing else may be wrong.
    expect(complaints.filter((each) => !each.includes('401'))).toEqual([]);
    await page.fill('#token', bellows.credentials.adminToken);
    await page.press('#token', 'Enter');
    await eventually(async () => (await textOf(page, '#status')) === 'live');
    expect(await page.locator('#tenants tr').allTextContents()).toEqual([expect.stringContaining('default')]);
    const [instance] = await bellows.instances();
    const row = await textOf(page, '#instances tr');
    expect(row).toContain('chat');
    expect(row).toContain(instance!.id);
    expect(row).toContain(`pid ${instance!.pid}`);
    // Kept for this tab alone: a reload keeps it, another tab does not have it.
    await page.reload();
    await eventually(async () => (await textOf(page, '#status')) === 'live');
    const other = await openPage(browser, `${bellows.url}/`);
    expect(await other.page.locator('#login').isVisible()).toBe(true);
    await page.click('#forget');
    expect(await page.locator('#login').isVisible()).toBe(true);
    await page.context().close();
    await other.page.context().close();
  });

  test('M-C3: a page whose WebSocket is beyond its tenant’s limit is told by close code and reason; those that are open go on', async () => {
    const { page } = await openPage(browser, byPath());
    await eventually(async () => (await textOf(page, '#state')).startsWith('Connected as'));
    onTestFinished(async () => {
      await bellows.v1('PUT', '/tenants/default/limits', { connections: null });
    });
    await bellows.v1('PUT', '/tenants/default/limits', { connections: 1 });
    // The page itself came before the limit; only what it dials now is beyond it.
    const told = await page.evaluate<string>(`new Promise((resolve) => {
      const socket = new WebSocket(location.href.replace('http', 'ws'), ['chat', 'other']);
      socket.onclose = ({ code, reason, wasClean }) => resolve(code + ' ' + wasClean + ' ' + reason);
    })`);
    expect(told).toBe('1013 true The tenant default has as many connections open as its limit allows: 1.');
    await say(page, 'still here');
    await eventually(async () => (await messagesOf(page)).includes('still here'));
    await page.context().close();
  });

  test('the dashboard follows a resize, a limit, a connection and a new tenant live', async () => {
    const { page, complaints } = await openPage(browser, `${bellows.url}/`);
    await page.fill('#token', bellows.credentials.adminToken);
    await page.press('#token', 'Enter');
    await eventually(async () => (await textOf(page, '#status')) === 'live');
    const shows = (selector: string, text: RegExp): Promise<void> =>
      eventually(async () => (await page.locator(selector).allTextContents()).some((one) => text.test(one)), {
        what: () => `${selector} to show ${text}`,
      });

    await bellows.v1('PATCH', '/workloads/default/chat?wait=20', { memory: '224MiB', cpu: '600m' });
    await shows('#instances tr', /chat.*of 224 MiB.*of 0\.60 CPU/);
    await shows('#events li', /224/);
    await bellows.v1('PUT', '/tenants/default/limits', { memory: '1GiB', cpu: '1.5' });
    await shows('#tenants tr', /default.*limit 1 GiB.*limit 1\.50 CPU/);
    await bellows.v1('PUT', '/tenants/default/limits', { connections: 40, concurrency: 30, requests: 500 });
    await shows('#tenants tr', /default.*limit 40.*limit 30.*limit 500/);
    await bellows.v1('PUT', '/tenants/newcomer', {});
    await shows('#tenants tr', /newcomer.*no limit/);
    const chat = await openPage(browser, byHost());
    await shows('#instances tr', /chat.*1$/);
    await shows('#tenants tr', /default.*1limit 40/);
    // What /v1 says that it would use, and a mark in the bar where that is.
    const [{ memory }] = (await bellows.v1<[{ memory: { demand: string } }]>('GET', '/instances')).body;
    expect(memory.demand).toMatch(/^\d/);
    await shows('#instances tr', /chat.*demands [\d.]+ MiB.*demands [\d.]+ CPU/);
    const bar = page.locator('#instances .meter').first();
    expect(await bar.getAttribute('aria-label')).toMatch(/ used of 224 MiB granted, .* demanded$/);
    expect(await bar.locator('.demand').count()).toBe(1);
    for (const section of ['#units-section', '#gateways-section'])
      expect(await page.locator(section).isVisible()).toBe(false);
    await chat.page.context().close();
    await shows('#instances tr', /chat.*0$/);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the dashboard names gateways where there are several, and says which of them leaves', async () => {
    const [serving] = z.array(gatewayView).parse((await bellows.v1('GET', '/gateways')).body);
    expect(serving).toMatchObject({ gateway: 1, pid: bellows.pidOf('gateway'), state: 'serving' });
    const leaving = { gateway: 1, pid: 12_345, state: 'leaving', connections: 17 };
    const { page, complaints } = await openPage(browser, `${bellows.url}/`);
    await page.route('**/v1/gateways', (route) => route.fulfill({ json: [leaving, serving] }));
    await page.fill('#token', bellows.credentials.adminToken);
    await page.press('#token', 'Enter');
    const rows = page.locator('#gateways tr');
    await eventually(async () => (await rows.count()) === 2);
    const texts = await rows.allTextContents();
    expect(texts[0]).toMatch(/^1\s*pid 12345\s*leaving\s*17$/);
    expect(texts[1]).toContain(`pid ${serving!.pid}`);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the dashboard shows virtual machines, and tells those on disk from those that run', async () => {
    const [host] = (await bellows.v1<object[]>('GET', '/units')).body;
    const machine = {
      ...host,
      id: 'u-aaaaaaaaaaaa',
      driver: 'qemu',
      state: 'bound',
      tenant: 'default',
      provisioned: { memory: '512MiB', cpu: '1', storage: '1GiB', bandwidth: '125MB/s' },
      claimed: { memory: '128MiB', cpu: '0', storage: '0B', bandwidth: '0B/s' },
      host: { memory: '300MiB', groupMemory: null, storage: '1MiB' },
    };
    const asleep = {
      ...machine,
      id: 'u-bbbbbbbbbbbb',
      state: 'hibernated',
      pid: null,
      host: { ...machine.host, memory: '0B' },
    };
    const units = z.array(unitView).parse([host, machine, asleep]);
    const { page, complaints } = await openPage(browser, `${bellows.url}/`);
    // Machines take minutes here, and what is shown is what /v1 tells of them.
    await page.route('**/v1/units', (route) => route.fulfill({ json: units }));
    await page.fill('#token', bellows.credentials.adminToken);
    await page.press('#token', 'Enter');
    const rows = page.locator('#units tr');
    await eventually(async () => (await rows.count()) === 2);
    const texts = await rows.allTextContents();
    expect(texts[0]).toMatch(
      /u-aaaaaaaaaaaa.*default.*bound.*300 MiB of the host.*128 MiB claimed of 512 MiB/,
    );
    expect(texts[1]).toMatch(/u-bbbbbbbbbbbb.*default.*hibernated.*0 B of the host/);
    const colours = await page.evaluate<string[]>(
      `[...document.querySelectorAll('#units td[data-state]')].map((node) => getComputedStyle(node).color)`,
    );
    expect(new Set(colours).size).toBe(2);
    for (const width of [400, 1200]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await isWiderThanWindow(page)).toBe(false);
    }
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the dashboard comes back by itself after the controller was killed', async () => {
    const { page, complaints } = await openPage(browser, `${bellows.url}/`);
    await page.fill('#token', bellows.credentials.adminToken);
    await page.press('#token', 'Enter');
    await eventually(async () => (await textOf(page, '#status')) === 'live');
    process.kill(bellows.pidOf('controller')!, 'SIGKILL');
    await eventually(async () => (await bellows.v1('GET', '/tenants')).status === 200);
    await bellows.v1('PATCH', '/workloads/default/chat?wait=20', { memory: '160MiB' });
    await eventually(
      async () =>
        (await textOf(page, '#status')) === 'live' &&
        (await textOf(page, '#instances tr')).includes('of 160 MiB'),
      { timeoutMs: 20_000, what: () => 'the dashboard to be live again' },
    );
    expect(complaints.filter((each) => /uncaught|policy/.test(each))).toEqual([]);
    await page.context().close();
  });

  test.each(windows)(
    'both pages fit a $colorScheme window of $width pixels',
    async ({ colorScheme, width }) => {
      const options = { colorScheme, viewport: { width, height: 800 } };
      const chat = await openPage(browser, byPath(), options);
      await eventually(async () => (await textOf(chat.page, '#state')).startsWith('Connected as'));
      await say(chat.page, 'a'.repeat(300));
      await eventually(async () => (await messagesOf(chat.page)).length === 1);
      expect(await isWiderThanWindow(chat.page)).toBe(false);
      await chat.page.context().close();

      const dashboard = await openPage(browser, `${bellows.url}/`, options);
      expect(await isWiderThanWindow(dashboard.page)).toBe(false);
      await dashboard.page.fill('#token', bellows.credentials.adminToken);
      await dashboard.page.press('#token', 'Enter');
      await eventually(async () => (await textOf(dashboard.page, '#instances tr')).includes('chat'));
      expect(await isWiderThanWindow(dashboard.page)).toBe(false);
      // Asked in one go: rows are made anew whenever something was heard.
      const right = await dashboard.page.evaluate<number>(
        `document.querySelector('#instances .meter').getBoundingClientRect().right`,
      );
      expect(right).toBeGreaterThan(0);
      expect(right).toBeLessThanOrEqual(width);
      expect([...chat.complaints, ...dashboard.complaints]).toEqual([]);
      await dashboard.page.context().close();
    },
  );
});
