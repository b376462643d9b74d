/** Makes the picture of the live page in the documents: `npm run screenshots`. */

import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startChromium } from "../lab/chromium.ts";
import { pageUrl, serveUi } from "./live-page.ts";

/** Long enough for lines and charts, in ms. */
const WATCHED_MS = 60_000;

await using served = await serveUi("test:///default?domains=300&freeze=3");
const browser = await startChromium();
try {
  const page = await browser.newPage({ viewport: { width: 1_040, height: 460 } });
  await page.goto(pageUrl(served));
  await page.locator(".row").nth(4).click();
  await sleep(WATCHED_MS);
  await page.screenshot({ path: fileURLToPath(new URL("../../docs/page.png", import.meta.url)) });
} finally {
  await browser.close();
}
