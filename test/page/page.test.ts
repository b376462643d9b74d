import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TokenList } from "../../src/server/index.ts";
import { inPage, startChromium } from "../lab/chromium.ts";
import { describeWith, requirement } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { PATIENCE } from "../until.ts";
import { listed, onPage, pageUrl, rowsOf, serveUi, setHidden, shown, statsOf } from "./live-page.ts";

/** What axe finds that is serious or critical. */
async function faults(page: Page): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ["violations"] }),
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).join(" | ")}`);
}

const folder = mkdtempSync(join(tmpdir(), "virstream-page-"));
let browser: Browser;
beforeAll(async () => {
  if (requirement("chromium").met) browser = await startChromium();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

describeWith(["chromium"], "The live page", () => {
  let served: ServedProcess;
  /** The same with a guest that hangs. */
  let stuck: ServedProcess;
  beforeAll(async () => {
    [served, stuck] = await Promise.all([
      serveUi("test:///default?domains=300"),
      serveUi("test:///default?domains=300&freeze=3"),
    ]);
  });
  afterAll(async () => {
    for (const each of [served, stuck]) await each?.[Symbol.asyncDispose]();
  });

  it("weighs at most 120 kB, and is all from the server itself", async () => {
    await onPage(browser, served, async (page) => {
      await listed(page);
      await page.locator(".row").first().click();
      await page.locator(".uplot").first().waitFor();
      const loaded = await page.evaluate(() =>
        [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map(
          (entry) => [new URL(entry.name).origin, (entry as PerformanceResourceTiming).encodedBodySize] as const,
        ),
      );
      const bytes = loaded.reduce((sum, [, size]) => sum + size, 0);
      console.info(`${bytes} bytes in ${loaded.length} files`);
      expect(bytes).toBeGreaterThan(10_000);
      expect(bytes).toBeLessThanOrEqual(120_000);
      expect(new Set(loaded.map(([origin]) => origin))).toEqual(new Set([pageUrl(served).slice(0, -1)]));
    });
  });

  it("has trouble on top, with the reason and the command that helps, and says it to screen readers", async () => {
    await onPage(browser, stuck, async (page) => {
      const problem = page.locator(".problems li").filter({ hasText: "guest-00003" });
      await expect.poll(() => problem.textContent(), PATIENCE).toMatch(/^STUCK \d+sguest-00003: does not answer/);
      expect(await problem.locator("code").textContent()).toBe(`virstream why guest-00003 ${stuck.url}`);
      expect(await page.locator(".summary").textContent()).toContain("1 stuck");
      expect((await rowsOf(page))[0]).toMatchObject({ status: expect.stringMatching(/^STUCK /), guest: "guest-00003" });
      await expect.poll(() => page.locator("[aria-live]").textContent(), PATIENCE).toContain("guest-00003: stuck");
      await problem.locator("button").click();
      await expect
        .poll(() => page.locator(".guest-view h2").textContent(), PATIENCE)
        .toMatch(/^guest-00003 on simulated: STUCK \d+s$/);
    });
  });

  it("is used by the keyboard alone: sorted, filtered, a guest opened and closed again", async () => {
    await onPage(browser, served, async (page) => {
      await listed(page);
      const sorted = () => page.locator("[aria-sort=ascending], [aria-sort=descending]").allTextContents();
      expect(await sorted()).toEqual(["CPU%"]);
      await page.getByRole("button", { name: "GUEST", exact: true }).focus();
      await page.keyboard.press("Enter");
      expect(await page.getByRole("columnheader", { name: "GUEST" }).getAttribute("aria-sort")).toBe("ascending");
      await page.keyboard.press("/");
      await page.keyboard.type("guest-0012");
      expect(await page.locator("output").textContent()).toBe("10 of 300");
      await page.keyboard.press("Enter");
      for (const key of ["ArrowDown", "ArrowDown", "ArrowDown"]) await page.keyboard.press(key);
      const active = await page.getByRole("grid").getAttribute("aria-activedescendant");
      expect(await page.locator(`#${active} .guest`).textContent()).toBe("guest-00122");
      await page.keyboard.press("Enter");
      await expect.poll(() => page.locator("h2").textContent(), PATIENCE).toMatch(/^guest-00122 on simulated: /);
      expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("H2");
      expect(page.url()).toContain("sort=guest");
      await page.keyboard.press("Escape");
      expect(await page.locator(".guest-view").isVisible()).toBe(false);
      expect(await page.evaluate(() => document.activeElement?.role)).toBe("grid");
    });
  });

  it("keeps what the user chose in its address, and Back closes a guest", async () => {
    await onPage(browser, served, async (page) => {
      await listed(page);
      await page.getByRole("searchbox").fill("guest-0002");
      await page.locator(".row").nth(2).click();
      // At first the head has the guest's uuid.
      await expect.poll(() => page.locator("h2").textContent(), PATIENCE).toContain("guest-0002");
      const name = await page.locator("h2").textContent();
      await page.reload();
      await expect.poll(() => page.locator("h2").textContent(), PATIENCE).toContain(name!.split(" ")[0]);
      expect(await page.getByRole("searchbox").inputValue()).toBe("guest-0002");
      await page.goBack();
      await expect.poll(() => page.locator(".guest-view").isVisible(), PATIENCE).toBe(false);
    });
  });

  it("stops the stream while it is hidden or paused, and goes on with the rows that it had", async () => {
    await onPage(browser, served, async (page) => {
      await shown(page);
      await page.locator(".row").nth(4).click();
      await expect.poll(async () => (await statsOf(served)).watches, PATIENCE).toBe(2);
      await setHidden(page, true);
      await expect.poll(async () => (await statsOf(served)).watches, PATIENCE).toBe(0);
      await setHidden(page, false);
      await expect.poll(async () => (await statsOf(served)).watches, PATIENCE).toBe(2);
      expect((await rowsOf(page)).length).toBeGreaterThan(10);
      await page.getByRole("button", { name: "Pause" }).click();
      await expect.poll(async () => (await statsOf(served)).watches, PATIENCE).toBe(0);
      expect(await page.locator(".notice").textContent()).toMatch(/^Paused since \d\d:\d\d:\d\d/);
      await page.getByRole("button", { name: "Pause" }).click();
      await expect.poll(async () => (await statsOf(served)).watches, PATIENCE).toBe(2);
      await shown(page);
    });
  });

  it("asks for no shorter interval than the server accepts, also a server behind a slower one", async () => {
    await using slow = await serveUi("test:///default?domains=3", "--min-interval", "2s");
    for (const own of ["250ms", "3s"]) {
      await using relay = await serveUi(slow.url, "--min-interval", own);
      await onPage(browser, relay, async (page) => {
        await listed(page);
        await page.locator(".row").first().click();
        await page.locator(".uplot").first().waitFor();
        await expect.poll(async () => (await statsOf(relay)).watches, PATIENCE).toBe(2);
        expect(await page.locator(".old").count()).toBe(0);
      });
    }
  });

  it("watches the guest alone where the guest covers the list on a phone", async () => {
    await onPage(
      browser,
      served,
      async (page) => {
        await listed(page);
        expect(Object.keys((await rowsOf(page))[0]!)).toEqual(["status", "guest", "cpu", "trend"]);
        await page.locator(".row").nth(4).click();
        await page.locator(".uplot").first().waitFor();
        await expect.poll(async () => (await statsOf(served)).watches, PATIENCE).toBe(1);
        expect(await page.locator(".row").first().isVisible()).toBe(false);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(380);
      },
      { width: 380, height: 700 },
    );
  });

  it("has no serious fault of accessibility, light and dark, in the list and with a guest, wide and on a phone", async () => {
    await onPage(browser, stuck, async (page) => {
      await listed(page);
      await page.locator(".problems li").first().waitFor();
      expect(await faults(page)).toEqual([]);
      await page.emulateMedia({ colorScheme: "dark" });
      await page.locator(".row").nth(4).click();
      await page.locator(".uplot").first().waitFor();
      expect(await faults(page)).toEqual([]);
      await page.setViewportSize({ width: 380, height: 700 });
      await page.emulateMedia({ colorScheme: "light" });
      expect(await faults(page)).toEqual([]);
      await page.keyboard.press("Escape");
      await page.emulateMedia({ colorScheme: "dark" });
      expect(await faults(page)).toEqual([]);
    });
  });

  it("says that the server is away, and goes on when it is back", async () => {
    await using restarted = await serveUi("test:///default?domains=50");
    await onPage(
      browser,
      restarted,
      async (page) => {
        await shown(page);
        await restarted.kill();
        const notice = page.locator(".notice");
        await expect.poll(() => notice.textContent(), PATIENCE).toMatch(/reconnecting since \d\d:\d\d:\d\d \(\d+s\)/);
        // The rows stay, and are dim.
        expect((await rowsOf(page)).length).toBeGreaterThan(20);
        expect(await page.locator("body.lost").count()).toBe(1);
        await restarted.restart();
        await expect.poll(() => notice.isVisible(), PATIENCE).toBe(false);
        await shown(page);
        // A host counts as absent until the first sweep after it.
        await expect.poll(() => page.locator(".problems").isVisible(), PATIENCE).toBe(false);
        await expect.poll(async () => (await statsOf(restarted)).watches, PATIENCE).toBe(1);
      },
      { expected: /WebSocket connection to .* failed/ },
    );
  });
});

describeWith(["chromium"], "The live page of a server with a token", () => {
  it("asks for it, says when it is wrong or of another role, and keeps the right one for the tab only", async () => {
    const [file, tokens] = [join(folder, "token"), join(folder, "tokens.json")];
    writeFileSync(file, "right\n", { mode: 0o600 });
    const { token, list } = new TokenList([]).with({ name: "prometheus", role: "metrics" });
    writeFileSync(tokens, list.toString(), { mode: 0o600 });
    await using guarded = await serveUi("test:///default?domains=20", "--token-file", file, "--tokens", tokens);
    await onPage(browser, guarded, async (page) => {
      await page.getByLabel("Token").fill("wrong");
      await page.keyboard.press("Enter");
      await page.getByText("The server refused this token.").waitFor();
      await page.getByLabel("Token").fill(token);
      await page.keyboard.press("Enter");
      await page
        .getByText("refused this token: the role metrics of this token permits only /metrics: ask the server's ")
        .waitFor();
      await page.getByLabel("Token").fill("right");
      await page.getByRole("button", { name: "Connect" }).click();
      await listed(page);
      await page.reload();
      await listed(page);
      expect(await page.evaluate(() => localStorage.length)).toBe(0);
      expect(page.url()).not.toContain("right");
    });
  });
});

describeWith(["chromium"], "The live page of a client that may read some groups only", () => {
  it("shows what these have, in the list and of a guest that is open", async () => {
    const file = join(folder, "tokens.json");
    const { token, list } = new TokenList([]).with({ name: "ann", role: "stats", groups: ["state", "cpu-total"] });
    writeFileSync(file, `${list}`, { mode: 0o600 });
    await using restricted = await serveUi("test:///default?domains=20", "--tokens", file);
    await onPage(browser, restricted, async (page) => {
      await page.getByLabel("Token").fill(token);
      await page.keyboard.press("Enter");
      await shown(page);
      expect(new Set((await rowsOf(page)).map(({ mem }) => mem))).toEqual(new Set(["-"]));
      await page.locator(".row").first().click();
      const title = page.getByRole("heading", { level: 2 });
      await expect.poll(() => title.textContent(), PATIENCE).toMatch(/ on simulated: running/);
    });
  });

  it("shows the server's reason for a guest in trouble about which this client may not ask, and keeps the advice", async () => {
    const file = join(folder, "tokens.json");
    const { token, list } = new TokenList([]).with({ name: "ann", role: "stats", groups: ["state", "balloon"] });
    writeFileSync(file, `${list}`, { mode: 0o600 });
    await using restricted = await serveUi("test:///default?domains=20&freeze=3", "--tokens", file);
    await onPage(
      browser,
      restricted,
      async (page) => {
        await page.getByLabel("Token").fill(token);
        await page.keyboard.press("Enter");
        await page.locator(".row", { hasText: "guest-00003" }).click();
        await page.getByText("does not say what is wrong: this token shows some groups only").waitFor();
        const command = page.locator(".guest-view code", { hasText: "virstream why guest-00003" });
        await expect.poll(() => command.isVisible(), PATIENCE).toBe(true);
      },
      { expected: /status of 403/ },
    );
  });
});

describeWith(["chromium"], "The live page of several hosts", () => {
  it("names the host of each guest at each width, and keeps rates when it goes on after a pause", async () => {
    await using other = await ServedProcess.start({ uri: "test:///default?host=hv2&domains=4&seed=2&paused=0" });
    await using all = await serveUi("test:///default?host=hv1&domains=4&paused=0", other.url);
    for (const width of [1_040, 1_280]) {
      await onPage(
        browser,
        all,
        async (page) => {
          const unknown = async () => (await rowsOf(page)).filter(({ cpu }) => cpu === "-").length;
          await shown(page);
          await expect.poll(unknown, PATIENCE).toBe(0);
          expect(new Set((await rowsOf(page)).map(({ host }) => host))).toEqual(new Set(["hv1", "hv2"]));
          await page.getByRole("button", { name: "Pause" }).click();
          await page.getByRole("button", { name: "Pause" }).click();
          for (let i = 0; i < 15; i++) {
            expect([(await rowsOf(page)).length, await unknown()]).toEqual([8, 0]);
            await page.waitForTimeout(100);
          }
        },
        { width },
      );
    }
  });

  it("has one line for a host that is away, with the number of its guests, and the guests of the others", async () => {
    await using away = await ServedProcess.start({ uri: "test:///default?host=hv2&domains=4" });
    await using all = await serveUi("test:///default?host=hv1&domains=3", away.url);
    await onPage(browser, all, async (page) => {
      await expect.poll(async () => (await rowsOf(page)).length, PATIENCE).toBe(7);
      expect(new Set((await rowsOf(page)).map(({ host }) => host))).toEqual(new Set(["hv1", "hv2"]));
      await away.kill();
      await expect
        .poll(async () => (await rowsOf(page))[0], PATIENCE)
        .toMatchObject({ status: "NO HOST", guest: "(4 guests)", host: "hv2" });
      expect((await rowsOf(page)).length).toBe(4);
      expect(await page.locator(".problems").textContent()).toContain("hv2 cannot be reached");
      expect(await page.locator(".summary").textContent()).toContain("1 absent");
    });
  });
});

describeWith(["chromium"], "An application with the live table in its own page", () => {
  it("learns which guest the user opens, and has the whole live page below its prefix", async () => {
    const example = fileURLToPath(new URL("../../examples/12-live-page/serve.mjs", import.meta.url));
    const child = spawn(process.execPath, [example], { stdio: ["ignore", "pipe", "inherit"] });
    const closed = once(child, "close");
    try {
      const [line] = (await once(child.stdout, "data")) as [Buffer];
      const url = line.toString().trim();
      await inPage(browser, url, async (page) => {
        await page.locator(".row").filter({ hasText: "guest-00004" }).click();
        expect(await page.locator("#opened").textContent()).toBe("guest-00004 on simulated");
        // An interval that the server refuses: there will be no records, and the table says why. As text, because the test's compiler
        // would change the import.
        await page.evaluate(`(async () => {
          const { showGuests } = await import("/vm/guests.js");
          const place = document.body.appendChild(document.createElement("div"));
          place.id = "refused";
          place.style.height = "10em";
          await showGuests(place, { intervalMs: 500 });
        })()`);
        await page
          .locator("#refused")
          .getByText(/500 ms is too short for this server/)
          .waitFor();
        await page.goto(`${url}vm`);
        expect(page.url()).toBe(`${url}vm/`);
        await listed(page);
      });
    } finally {
      child.kill();
      await closed;
    }
  });
});

describeWith(["chromium"], "The live page of 10,000 guests", () => {
  let served: ServedProcess;
  beforeAll(async () => {
    served = await serveUi("test:///default?domains=10000");
  });
  afterAll(() => served?.[Symbol.asyncDispose]());

  it("has elements for the rows on the screen only, and scrolls to the last", async () => {
    await onPage(browser, served, async (page) => {
      await listed(page);
      const grid = page.getByRole("grid");
      await expect.poll(() => grid.getAttribute("aria-rowcount"), PATIENCE).toBe("10001");
      await page.getByRole("button", { name: "GUEST", exact: true }).click();
      expect((await rowsOf(page))[0]?.["guest"]).toBe("guest-00000");
      await grid.focus();
      await page.keyboard.press("End");
      await expect.poll(async () => (await rowsOf(page)).at(-1)?.["guest"], PATIENCE).toBe("guest-09999");
      expect(await page.locator("[aria-rowindex='10001'] .guest").textContent()).toBe("guest-09999");
      expect(await page.locator(".row").count()).toBeLessThan(80);
    });
  });
});
