import { type Browser, chromium, type Page } from "playwright-core";
import { expect } from "vitest";
import { findProgram } from "./requirement.ts";

/** Starts Chromium. @param args more options of Chromium's */
export function startChromium(args: readonly string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath: findProgram("chromium")!,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-background-networking",
      "--disable-sync",
      ...args,
    ],
  });
}

/**
 * A page in Chromium, and what it complained of: errors, and what its Content-Security-Policy forbade.
 *
 * @param args more options of Chromium's
 * @param expected the complaints that must come
 */
export async function inChromium(
  url: string,
  test: (page: Page) => Promise<void>,
  args: readonly string[] = [],
  expected: readonly string[] = [],
): Promise<void> {
  const browser = await startChromium(args);
  try {
    await inPage(browser, url, test, expected);
  } finally {
    await browser.close();
  }
}

/** The same in a browser that runs, with nothing of its other pages. */
export async function inPage(
  browser: Browser,
  url: string,
  test: (page: Page) => Promise<void>,
  expected: readonly string[] = [],
): Promise<void> {
  const page = await browser.newPage();
  try {
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.exposeFunction("forbidden", (directive: string, what: string) =>
      complaints.push(`${directive} ${what}`),
    );
    await page.addInitScript(
      `addEventListener("securitypolicyviolation", (event) => forbidden(event.effectiveDirective, event.blockedURI));`,
    );
    await page.goto(url);
    await test(page);
    expect(complaints).toEqual(expected);
  } finally {
    await page.close();
  }
}
