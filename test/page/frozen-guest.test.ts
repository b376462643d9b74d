import { afterAll, beforeAll, expect, it } from "vitest";
import { connect } from "../../src/index.ts";
import { startChromium } from "../lab/chromium.ts";
import { FaultLab, faultRequirements } from "../lab/fault-lab.ts";
import { describeWith } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";
import { onPage, rowsOf, serveUi, shown } from "./live-page.ts";

/** One interval of the page, with time for a loaded machine. */
const ONE_INTERVAL_MS = 5_000;
const RUNS = expect.stringMatching(/^(running|STEAL \d+%)$/);

describeWith([...faultRequirements, "chromium"], "The live page of a libvirt host", () => {
  let lab: FaultLab;
  beforeAll(async () => {
    lab = await FaultLab.start(3);
  });
  afterAll(() => lab?.stop());

  it("shows a guest whose QEMU is stopped as stuck within one interval after its deadline, and no longer once it goes on", async () => {
    await using served = await serveUi(lab.libvirtd.uri);
    await using client = await connect(served.url);
    const browser = await startChromium();
    try {
      await onPage(browser, served, async (page) => {
        await shown(page);
        expect(await page.locator(".problems li:not(.slow)").count()).toBe(0);
        const [frozen] = lab.freeze(1);
        for await (const record of client.watch({ groups: ["state", "cpu-total", "balloon"] })) {
          if (record.domain.name === frozen!.name && record.reason === "timeout") break;
        }
        const deadline = performance.now();
        const problem = page.locator(".problems li").filter({ hasText: frozen!.name });
        await expect.poll(() => problem.textContent(), PATIENCE).toMatch(/^STUCK \d+s.*does not answer/);
        expect(performance.now() - deadline).toBeLessThan(ONE_INTERVAL_MS);
        const rows = await rowsOf(page);
        expect(rows[0]).toMatchObject({ guest: frozen!.name, status: expect.stringMatching(/^STUCK /) });
        // On a busy machine, guests that run wait for processors.
        expect(rows.slice(1).map(({ status }) => status)).toEqual([RUNS, RUNS]);
        await problem.getByRole("button").click();
        const diagnosis = page.locator(".diagnosis");
        await expect
          .poll(() => diagnosis.locator(".explanation").textContent(), PATIENCE)
          .toMatch(/ answers nothing: its QEMU process is stopped \(state T\)\.$/);
        expect(await diagnosis.locator(".remedy").textContent()).toContain(`kill -CONT ${frozen!.pid}`);
        await lab.calm();
        await expect.poll(() => problem.count(), PATIENCE).toBe(0);
        await expect.poll(() => diagnosis.isVisible(), PATIENCE).toBe(false);
        await shown(page);
      });
    } finally {
      await browser.close();
    }
  });
});
