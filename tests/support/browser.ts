// A real browser for tests: Debian's Chromium, driven by Playwright, with the account of what went wrong in its pages.
import { existsSync } from 'node:fs';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';

const executablePath = '/usr/bin/chromium';

/** Why no browser can be started here; undefined when one can. */
export const noBrowser = existsSync(executablePath) ? undefined : `there is no ${executablePath}`;

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      // Tests run as root, in containers: its own sandbox needs what they lack.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      // It must ask for nothing but what the test opens.
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export interface WatchedPage {
  readonly page: Page;
  /** Errors and warnings of the console, uncaught errors, requests that failed, violations of the page's policy. */
  readonly complaints: readonly string[];
}

export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()))
      complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  page.on('response', (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`);
  });
  await page.exposeFunction('complain', (text: string) => complaints.push(text));
  await page.addInitScript(`
    document.addEventListener('securitypolicyviolation', (event) =>
      complain('policy: ' + event.violatedDirective + ' ' + event.blockedURI));
    window.socketsMade = [];
    window.WebSocket = class extends WebSocket {
      constructor(...of) { super(...of); window.socketsMade.push(this); }
    };
  `);
  await page.goto(url);
  return { page, complaints };
}

/** How many WebSockets the page has made since it was opened, and the state of the first: 1 is open. */
export async function socketsOf(page: Page): Promise<{ readonly made: number; readonly state: number }> {
  return page.evaluate<{ made: number; state: number }>(
    '({ made: socketsMade.length, state: socketsMade[0].readyState })',
  );
}

/** Whether something sticks out of the window sideways. */
export async function isWiderThanWindow(page: Page): Promise<boolean> {
  return page.evaluate<boolean>(
    '[document.documentElement, ...document.body.children].some((one) => one.scrollWidth > window.innerWidth || one.getBoundingClientRect().left < 0)',
  );
}
