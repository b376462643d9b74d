import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, type DomainStatsRecord } from "../../src/index.ts";
import { record } from "../../src/outlets/recording/index.ts";
import { narrowBytes, percent } from "../../src/overview/quantity.ts";
import { startChromium } from "../lab/chromium.ts";
import { describeWith, requirement } from "../lab/requirement.ts";
import type { ServedProcess } from "../lab/served-process.ts";
import { PATIENCE, until } from "../until.ts";
import { onPage, pageUrl, rowsOf, serveUi, shown } from "./live-page.ts";

const folder = mkdtempSync(join(tmpdir(), "virstream-slider-"));
const path = join(folder, "host.rec");
const INTERVAL_MS = 100;

/** Records a host for some sweeps. Returns the moment in the middle. */
async function recordHost(parameters: string, sweeps: number): Promise<number> {
  await using host = await connect(`test:///default?domains=8&disks=1${parameters}`);
  await using recording = await record(host, path, { intervalMs: INTERVAL_MS, query: { deadlineMs: 50 } });
  await until(() => recording.figures.ticks > 0);
  const from = Date.now();
  await until(() => recording.figures.ticks >= sweeps);
  return Math.round((from + Date.now()) / 2);
}

/** The link to a moment. */
function linkTo(served: ServedProcess, at: number): string {
  return `${pageUrl(served)}#at=${new Date(at).toISOString()}`;
}

/** The moment that the page's address has, in ms since 1970. */
function momentOf(page: Page): number {
  return Date.parse(new URLSearchParams(new URL(page.url()).hash.slice(1)).get("at") ?? "");
}

const slider = (page: Page) => page.getByRole("slider", { name: "Time" });

describeWith(["chromium"], "The page of a recording", () => {
  let browser: Browser;
  let served: ServedProcess;
  /** Moments at which all guests were well, at which one hung, and at which all were well again. */
  let [before, frozen, after] = [0, 0, 0];
  beforeAll(async () => {
    if (!requirement("chromium").met) return;
    before = await recordHost("", 45);
    frozen = await recordHost("&freeze=3", 10);
    after = await recordHost("", 10);
    browser = await startChromium();
    served = await serveUi(`file://${path}`);
  });
  afterAll(async () => {
    await served?.[Symbol.asyncDispose]();
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("shows the figures that two samples of the recording give by hand, at the moment that the slider is moved to", async () => {
    await using recording = await connect(`file://${path}`);
    const { from } = recording.recorded!;
    await onPage(browser, served, async (page) => {
      await shown(page);
      await page.getByRole("button", { name: "Pause" }).click();
      await slider(page).focus();
      for (const key of ["Home", "ArrowRight", "ArrowRight"]) await page.keyboard.press(key);
      const at = from + 2_000;
      await expect.poll(() => momentOf(page), PATIENCE).toBe(at);
      const samples = await Promise.all([at - 1_000, at].map((time) => recording.getAllDomainStats({ at: time })));
      const [earlier, later] = samples.map((all) => new Map(all.map((each) => [each.domain.name, each])));
      const byHand = [...later!.values()].map((now) => {
        const then = earlier!.get(now.domain.name)!;
        const perSecond = (key: Parameters<DomainStatsRecord["params"]["number"]>[0]): number =>
          (now.params.number(key)! - then.params.number(key)!) / ((now.steadyAt - then.steadyAt) / 1_000);
        const cells = { cpu: percent(perSecond("cpu.time") / 1e7), read: narrowBytes(perSecond("block.0.rd.bytes")) };
        return { guest: now.domain.name, status: "running", ...cells };
      });
      const shownRows = async () =>
        (await rowsOf(page)).map(({ guest, status, cpu, read }) => ({ guest, status, cpu, read }));
      const sorted = <T extends { guest?: string | undefined }>(rows: T[]): T[] =>
        rows.sort((one, other) => (one.guest! < other.guest! ? -1 : 1));
      await expect.poll(async () => sorted(await shownRows()), PATIENCE).toEqual(sorted(byHand));
      expect(byHand).toHaveLength(8);
      const words = new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
      expect(await slider(page).getAttribute("aria-valuetext")).toBe(words);
    });
  });

  it("has a guest as stuck at the moments at which it was, and a link leads others to the moment and the guest", async () => {
    await onPage(browser, served, async (page) => {
      const stuck = page.locator(".problems li").filter({ hasText: "guest-00003: does not answer" });
      for (const [moment, trouble] of [
        [before, false],
        [frozen, true],
        [after, false],
      ] as const) {
        await page.goto("about:blank");
        await page.goto(linkTo(served, moment));
        await shown(page);
        expect(await stuck.isVisible()).toBe(trouble);
        expect(await page.getByRole("button", { name: "Play" }).isVisible()).toBe(true);
      }
      // In the same page, by a change of the address.
      await page.goto(linkTo(served, frozen));
      await expect.poll(() => stuck.isVisible(), PATIENCE).toBe(true);
      expect((await rowsOf(page))[0]).toMatchObject({ guest: "guest-00003", status: expect.stringMatching(/^STUCK/) });
      await page.locator(".row").filter({ hasText: "guest-00005" }).click();
      await page.locator(".uplot").first().waitFor();
      await page.reload();
      await page.locator(".uplot").first().waitFor();
      expect(await page.locator("h2").textContent()).toMatch(/^guest-00005 on simulated: running/);
      expect(momentOf(page)).toBe(frozen);
      await expect.poll(() => stuck.isVisible(), PATIENCE).toBe(true);
    });
  });

  it("plays to the end at the chosen speed, however long that takes, and goes on when the recording grows", async () => {
    await using host = await connect("test:///default?domains=8&disks=1");
    await onPage(browser, served, async (page) => {
      await shown(page);
      await using recording = await connect(`file://${path}`);
      const { from, to } = recording.recorded!;
      // At the end it waits for more for 5.2 s. The time for which it has played before does not count.
      await expect.poll(() => momentOf(page), PATIENCE).toBeGreaterThan(from + 5_500);
      await page.getByRole("combobox", { name: "Speed" }).selectOption("4");
      await expect.poll(() => momentOf(page), PATIENCE).toBeGreaterThanOrEqual(to);
      await using _ = await record(host, path, { intervalMs: INTERVAL_MS });
      await expect.poll(() => momentOf(page), PATIENCE).toBeGreaterThan(to + 500);
    });
  });

  it("is usable on a phone and in the dark, and axe finds nothing serious", async () => {
    for (const options of [{ width: 360, height: 740 }, { dark: true }]) {
      await onPage(
        browser,
        served,
        async (page) => {
          await page.goto(linkTo(served, frozen));
          await shown(page);
          await page.evaluate(axe.source);
          const { violations } = await page.evaluate(() =>
            (globalThis as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ["violations"] }),
          );
          const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
          expect(serious.map(({ id, nodes }) => `${id} ${nodes[0]?.html}`)).toEqual([]);
          const box = (await page.locator(".time-bar").boundingBox())!;
          expect(box.x + box.width).toBeLessThanOrEqual(options.width ?? 1_280);
          expect((await slider(page).boundingBox())!.width).toBeGreaterThan(100);
          if (process.env["VIRSTREAM_TEST_SCREENSHOT"]) {
            await page.screenshot({
              path: `${process.env["VIRSTREAM_TEST_SCREENSHOT"]}${options.width ?? "dark"}.png`,
            });
          }
        },
        options,
      );
    }
  });
});
