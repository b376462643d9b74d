/** Makes the pictures of the live page and of `virstream top` in the documents: `npm run screenshots`. */

import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { PROGRAM } from "../cli/run.ts";
import { startChromium } from "../lab/chromium.ts";
import { terminalPicture } from "../lab/terminal-picture.ts";
import { TmuxTerminal } from "../lab/tmux-terminal.ts";
import { pageUrl, serveUi } from "./live-page.ts";

/** Long enough for lines and charts, in ms. */
const WATCHED_MS = 60_000;
/** Long enough for rates, and for a guest to be stuck, in ms. */
const TOP_WATCHED_MS = 12_000;
const TERMINAL = { columns: 104, rows: 20 };

async function pictureOfTop(): Promise<void> {
  const hosts = ["hv1&freeze=3", "hv2"].map((host) => `'test:///default?domains=150&host=${host}'`);
  const command = `${process.execPath} ${PROGRAM} top ${hosts.join(" ")}`;
  await using terminal = await TmuxTerminal.open(command, TERMINAL.columns, TERMINAL.rows);
  await terminal.see(/STUCK \d+s/, WATCHED_MS);
  await sleep(TOP_WATCHED_MS);
  const screen = await terminal.screen({ colours: true });
  const title =
    "virstream top: a guest that hangs is on top, in red, and the line above the keys has the command that helps";
  await writeFile(new URL("../../docs/top.svg", import.meta.url), terminalPicture(screen, TERMINAL.columns, title));
}

async function pictureOfPage(): Promise<void> {
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
}

await pictureOfTop();
if (!process.argv.includes("--top")) await pictureOfPage();
