import type { Browser, Page } from "playwright-core";
import { expect } from "vitest";
import { inPage } from "../lab/chromium.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { PATIENCE } from "../until.ts";

/** Starts `virstream serve --ui` as users run it. */
export function serveUi(uri: string, ...args: string[]): Promise<ServedProcess> {
  return ServedProcess.start({ uri, args: ["--ui", ...args] });
}

/** What a test changes about the browser. */
export interface PageOptions {
  readonly width?: number;
  readonly height?: number;
  readonly dark?: boolean;
  /** What the browser's console may have as errors. */
  readonly expected?: RegExp;
}

/** Opens the page of a server. Fails where the page throws, its console has an error, or its policy forbids something. */
export async function onPage(
  browser: Browser,
  served: ServedProcess,
  test: (page: Page) => Promise<void>,
  { width = 1_280, height = 800, dark = false, expected }: PageOptions = {},
): Promise<void> {
  await inPage(browser, "about:blank", async (page) => {
    const errors: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error" && expected?.test(message.text()) !== true) errors.push(message.text());
    });
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    await page.goto(pageUrl(served));
    await test(page);
    expect(errors).toEqual([]);
  });
}

export function pageUrl({ port }: ServedProcess): string {
  return `http://127.0.0.1:${port}/`;
}

/** The figures of the server, from /stats.json. */
export async function statsOf(served: ServedProcess): Promise<{ watches: number; messagesSent: number }> {
  return (await fetch(`${pageUrl(served)}stats.json`)).json() as Promise<{ watches: number; messagesSent: number }>;
}

/** The texts of the rows on the screen, from top to bottom, by the name of the column. */
export function rowsOf(page: Page): Promise<Record<string, string>[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>(".row:not([hidden])")]
      .sort((one, other) => Number(one.ariaRowIndex) - Number(other.ariaRowIndex))
      .map((row) =>
        Object.fromEntries([...row.children].map((cell) => [cell.classList[0]!, cell.textContent ?? ""] as const)),
      ),
  );
}

/** Resolves when guests are shown. */
export async function listed(page: Page): Promise<void> {
  await page.locator(".row").first().waitFor();
}

/** Resolves when guests are shown with rates. */
export async function shown(page: Page): Promise<void> {
  await expect
    .poll(async () => (await rowsOf(page)).filter(({ cpu = "-" }) => cpu !== "-").length, PATIENCE)
    .toBeGreaterThan(2);
}

/** Hides the page, or shows it again, as when the user looks at another tab: Chromium without a screen never hides one. */
export async function setHidden(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate(
    (state) => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
      document.dispatchEvent(new Event("visibilitychange"));
    },
    hidden ? "hidden" : "visible",
  );
}
