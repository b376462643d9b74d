import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, type DomainStatsRecord, type KnownGroup, type KnownKey } from "../../src/index.ts";
import { narrowBytes, narrowCount, narrowMs, percent } from "../../src/overview/quantity.ts";
import { startChromium } from "../lab/chromium.ts";
import { describeWith, requirement } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";
import { onPage, rowsOf, serveUi, shown } from "./live-page.ts";

const GROUPS: readonly KnownGroup[] = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"];

/** Two records of a domain, one after the other, and their differences: computed by hand, apart from the product's own rates. */
class Pair {
  readonly #before: DomainStatsRecord;
  readonly #after: DomainStatsRecord;

  constructor(before: DomainStatsRecord, after: DomainStatsRecord) {
    this.#before = before;
    this.#after = after;
  }

  value(key: string): number {
    return Number(this.#after.params.get(key as KnownKey));
  }

  /** The increase of a counter. */
  increase(key: string): number {
    return this.value(key) - Number(this.#before.params.get(key as KnownKey));
  }

  perSecond(key: string): number {
    return this.increase(key) / ((this.#after.steadyAt - this.#before.steadyAt) / 1_000);
  }

  /** A counter of ns as a part of the time, in percent. */
  share(key: string): number {
    return this.perSecond(key) / 1e7;
  }

  /** The sum of a figure over the devices of a kind. */
  sum(kind: "net" | "block", figure: (device: string) => number): number {
    return Array.from({ length: this.value(`${kind}.count`) }, (_, i) => figure(`${kind}.${i}`)).reduce(
      (total, each) => total + each,
      0,
    );
  }

  /** The mean time of requests, in ms. */
  latency(times: readonly string[], requests: readonly string[]): string {
    const add = (keys: readonly string[]) => keys.reduce((total, key) => total + this.increase(key), 0);
    return add(requests) === 0 ? "-" : narrowMs(add(times) / add(requests) / 1e6);
  }

  /** The cells of the table. */
  cells(): Record<string, string> {
    const disks = Array.from({ length: this.value("block.count") }, (_, i) => `block.${i}`);
    const vcpus = Array.from({ length: this.value("vcpu.current") }, (_, i) => this.share(`vcpu.${i}.delay`));
    const bytes = (kind: "net" | "block", field: string) =>
      narrowBytes(this.sum(kind, (device) => this.perSecond(`${device}.${field}`)));
    return {
      vcpu: String(this.value("vcpu.current")),
      cpu: percent(this.share("cpu.time")),
      steal: percent(vcpus.reduce((total, each) => total + each, 0) / vcpus.length),
      mem: narrowBytes((this.value("balloon.available") - this.value("balloon.usable")) * 1_024),
      read: bytes("block", "rd.bytes"),
      write: bytes("block", "wr.bytes"),
      lat: this.latency(
        disks.flatMap((disk) => [`${disk}.rd.times`, `${disk}.wr.times`]),
        disks.flatMap((disk) => [`${disk}.rd.reqs`, `${disk}.wr.reqs`]),
      ),
      rx: bytes("net", "rx.bytes"),
      tx: bytes("net", "tx.bytes"),
    };
  }

  /** The tables of one guest, by their captions. */
  tables(): Record<string, string[][]> {
    const vcpus = Array.from({ length: this.value("vcpu.current") }, (_, i) => [
      String(i),
      ...["time", "delay", "wait"].map((field) => percent(this.share(`vcpu.${i}.${field}`))),
    ]);
    const disks = Array.from({ length: this.value("block.count") }, (_, i) => {
      const disk = `block.${i}`;
      return [
        `${this.#after.params.get(`${disk}.name` as KnownKey)}`,
        ...["rd.bytes", "wr.bytes"].map((field) => narrowBytes(this.perSecond(`${disk}.${field}`))),
        ...["rd.reqs", "wr.reqs"].map((field) => narrowCount(this.perSecond(`${disk}.${field}`))),
        ...["rd", "wr", "fl"].map((kind) => this.latency([`${disk}.${kind}.times`], [`${disk}.${kind}.reqs`])),
      ];
    });
    const nics = Array.from({ length: this.value("net.count") }, (_, i) => {
      const nic = `net.${i}`;
      const both = (field: string) =>
        narrowCount(this.perSecond(`${nic}.rx.${field}`) + this.perSecond(`${nic}.tx.${field}`));
      return [
        `${this.#after.params.get(`${nic}.name` as KnownKey)}`,
        ...["rx.bytes", "tx.bytes"].map((field) => narrowBytes(this.perSecond(`${nic}.${field}`))),
        ...["rx.pkts", "tx.pkts"].map((field) => narrowCount(this.perSecond(`${nic}.${field}`))),
        both("errs"),
        both("drop"),
      ];
    });
    const memory = [
      narrowBytes((this.value("balloon.available") - this.value("balloon.usable")) * 1_024),
      narrowBytes(this.value("balloon.available") * 1_024),
      narrowBytes(this.value("balloon.current") * 1_024),
      narrowBytes(this.value("balloon.rss") * 1_024),
    ].map((text) => [text]);
    return { "Virtual CPUs": vcpus, Disks: disks, "Network interfaces": nics, Memory: memory };
  }
}

describeWith(["chromium"], "The figures of the live page", () => {
  let browser: Browser;
  beforeAll(async () => {
    if (requirement("chromium").met) browser = await startChromium();
  });
  afterAll(() => browser?.close());

  it("are those that two raw records give by hand: in each cell of the table, and in the tables of a guest", async () => {
    await using served = await serveUi("test:///default?domains=24");
    await using client = await connect(served.url);
    const end = new AbortController();
    const collected = new Map<string, DomainStatsRecord[]>();
    const collect = (into: Map<string, DomainStatsRecord[]>, domains?: string[]) =>
      client
        .watch({ groups: GROUPS, ...(domains && { domains }) }, { intervalMs: 1_000, signal: end.signal })
        .forEach((record) => {
          const { name } = record.domain;
          into.set(name, [...(into.get(name) ?? []), record]);
        })
        .catch(() => {});
    const pairs = (from: Map<string, DomainStatsRecord[]>, name = "") =>
      (from.get(name) ?? []).slice(1).map((after, i) => new Pair(from.get(name)![i]!, after));
    const watching = [collect(collected)];
    await onPage(browser, served, async (page) => {
      await shown(page);
      const opened = (await rowsOf(page)).find(({ cpu }) => cpu !== "-")!["guest"]!;
      const ofGuest = new Map<string, DomainStatsRecord[]>();
      watching.push(collect(ofGuest, [collected.get(opened)![0]!.domain.uuid]));
      await page.locator(".row").filter({ hasText: opened }).click();
      await expect.poll(() => page.locator(".figures").first().textContent(), PATIENCE).toMatch(/\d\.\d/);
      // The guest's panel leaves less room, so there are fewer columns; the others are compared once it is closed.
      const tables = await page.evaluate(() => {
        const shownTables = [...document.querySelectorAll<HTMLTableElement>(".figures table")];
        return Object.fromEntries(
          shownTables.map((table) => [
            table.caption!.textContent!,
            [...table.tBodies[0]!.rows].map((row) => [...row.cells].map((cell) => cell.textContent!)),
          ]),
        );
      });
      const figures = {
        ...tables,
        // Without the path, and without the names of the memory's figures.
        Disks: tables["Disks"]!.map((cells) => cells.slice(0, 8)),
        Memory: tables["Memory"]!.map((cells) => cells.slice(1)),
      };
      delete (figures as Record<string, unknown>)["All parameters"];
      await expect
        .poll(
          () => pairs(ofGuest, opened).some((pair) => JSON.stringify(pair.tables()) === JSON.stringify(figures)),
          PATIENCE,
        )
        .toBe(true);
      await page.keyboard.press("Escape");
      await expect.poll(async () => Object.keys((await rowsOf(page))[0]!), PATIENCE).toContain("tx");
      await page.getByRole("button", { name: "Pause" }).click();
      const rows = await rowsOf(page);
      expect(rows.length).toBeGreaterThan(15);
      const wrong = () =>
        rows.filter(({ guest, status, age, trend, ...cells }) => {
          if (status !== "running") return Object.entries(cells).some(([name, text]) => name === "cpu" && text !== "-");
          return !pairs(collected, guest).some((pair) =>
            Object.entries(pair.cells()).every(([name, text]) => cells[name] === text),
          );
        });
      await expect.poll(wrong, PATIENCE).toEqual([]);
      expect(rows.filter(({ status }) => status === "running").length).toBeGreaterThan(10);
    });
    end.abort();
    await Promise.all(watching);
  });
});
