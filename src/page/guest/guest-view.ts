import type { DomainRates } from "../../client/rates/domain-rates.ts";
import type { TableRow } from "../../client/table/rows.ts";
import { UNKNOWN } from "../../overview/columns.ts";
import { matterText, whyCommand } from "../../overview/explanation.ts";
import { isOld, nameOf } from "../../overview/line.ts";
import { narrowBytes, narrowCount, narrowMs, percent, span } from "../../overview/quantity.ts";
import { type TroubleKind, verdictOf } from "../../overview/verdict.ts";
import { printable } from "../../overview/words.ts";
import { element, setText } from "../element.ts";
import { Chart, type ChartOptions } from "./chart.ts";
import { FigureTable } from "./figure-table.ts";
import { CHARTS, type ChartName, GuestHistory } from "./guest-history.ts";

const CHART_OPTIONS: Readonly<Record<ChartName, ChartOptions>> = {
  cpu: { title: "CPU, percent of one processor, by virtual CPU", words: percent, stacked: true, points: false },
  steal: { title: "Steal, percent", words: percent, stacked: false, points: false },
  latency: { title: "Disk latency", words: narrowMs, stacked: false, points: true },
  throughput: { title: "Disk, bytes per second", words: narrowBytes, stacked: false, points: false },
  network: { title: "Network, bytes per second", words: narrowBytes, stacked: false, points: false },
  memory: { title: "Memory, bytes", words: narrowBytes, stacked: false, points: false },
};

/** Everything about one guest, beside the table: what is wrong with it, charts of the last minutes, and its devices. */
export class GuestView {
  readonly element: HTMLElement;
  readonly #heading = element("h2", { tabindex: "-1", id: "guest-name" });
  readonly #facts = element("p", { class: "facts" });
  readonly #trouble = element("p", { class: "explanation" });
  readonly #command = element("code");
  readonly #charts = new Map(CHARTS.map((name) => [name, new Chart(CHART_OPTIONS[name])]));
  readonly #vcpus = new FigureTable("Virtual CPUs", ["vCPU", "CPU%", "STEAL%", "WAIT%"]);
  readonly #disks = new FigureTable("Disks", [
    ...["Disk", "READ/s", "WRITE/s", "RD-OP/s", "WR-OP/s", "RD-LAT", "WR-LAT", "FL-LAT", "Path"],
  ]);
  readonly #nics = new FigureTable("Network interfaces", [
    ...["NIC", "RX/s", "TX/s", "RX-PKT/s", "TX-PKT/s", "ERR/s", "DROP/s"],
  ]);
  readonly #memory = new FigureTable("Memory", ["", "bytes"]);
  readonly #parameters = new FigureTable("All parameters", ["Parameter", "Value"]);
  readonly #raw: HTMLDetailsElement;
  readonly #intervalMs: number;
  readonly #sourceOf: (host: string) => string;
  #history = new GuestHistory();
  #key: string | undefined;
  /** Since when the guest has this kind of trouble, or none, in ms of the page's clock. */
  #since: { readonly kind: TroubleKind | undefined; readonly at: number } | undefined;
  #row: TableRow | undefined;

  /**
   * @param intervalMs the time between two sweeps, in ms
   * @param sourceOf the URI of a host, for commands
   */
  constructor(intervalMs: number, onClose: () => void, sourceOf: (host: string) => string) {
    this.#intervalMs = intervalMs;
    this.#sourceOf = sourceOf;
    const close = element("button", { type: "button", class: "close", "aria-label": "Close the guest" }, "×");
    close.addEventListener("click", onClose);
    this.#raw = element("details", {}, element("summary", {}, "All parameters"), this.#parameters.element);
    this.#raw.addEventListener("toggle", () => this.#showParameters());
    this.#trouble.append(element("span"), " ", this.#command);
    this.element = element(
      "section",
      { class: "guest-view", "aria-labelledby": "guest-name" },
      element("header", {}, this.#heading, close),
      this.#trouble,
      this.#facts,
      ...[...this.#charts.values()].map((chart) => chart.element),
      ...[this.#vcpus, this.#disks, this.#nics, this.#memory].map((table) => table.element),
      this.#raw,
    );
    this.element.hidden = true;
    new ResizeObserver(() => {
      for (const chart of this.#charts.values()) chart.resize();
    }).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of this.#charts.values()) chart.restyle();
    });
  }

  /** Opens the view for a guest. */
  open(key: string): void {
    if (key === this.#key) return;
    this.#key = key;
    this.#history = new GuestHistory();
    this.#since = undefined;
    this.#row = undefined;
    this.element.hidden = false;
    for (const chart of this.#charts.values()) chart.draw([], new Map());
    for (const table of [this.#vcpus, this.#disks, this.#nics, this.#memory, this.#parameters]) table.show([]);
    this.#say(printable(key.split("\n")[1] ?? key), "waiting for its first record", "");
    this.#heading.focus();
  }

  close(): void {
    this.#key = undefined;
    this.#row = undefined;
    this.element.hidden = true;
    for (const chart of this.#charts.values()) chart.dispose();
  }

  /**
   * Shows the newest record.
   *
   * @param since when the list first saw the guest in its present trouble, in ms of the page's clock; undefined: it is not in the list
   */
  show(row: TableRow, since: number | undefined): void {
    const { kind } = verdictOf(row.record, 0);
    const before = this.#since?.kind === kind ? this.#since?.at : undefined;
    this.#since = { kind, at: since ?? before ?? performance.now() };
    if (row === this.#row) {
      this.tick();
      return;
    }
    this.#row = row;
    this.#history.take(row.rates);
    this.tick();
    for (const [name, chart] of this.#charts) chart.draw(this.#history.times, this.#history.lines(name));
    this.#showDevices(row.rates);
    this.#showParameters();
  }

  /** Lets ages grow; call it once per second. */
  tick(): void {
    const row = this.#row;
    if (row === undefined) return;
    const { record } = row;
    const { domain, state, tookMs } = record;
    const verdict = verdictOf(record, performance.now() - (this.#since?.at ?? performance.now()));
    const known = state === undefined ? UNKNOWN : `${state.state} (${state.reason})`;
    const gone = record.status === "gone";
    this.#say(
      `${nameOf(domain)} on ${domain.host}: ${gone ? "has left" : verdict.words}`,
      `uuid ${domain.uuid}   id ${domain.id < 0 ? UNKNOWN : domain.id}   state ${known}   ${span(row.ageMs)} old, answered in ${narrowMs(tookMs)}`,
      "",
    );
    this.element.classList.toggle("bad", verdict.bad);
    this.element.classList.toggle("old", isOld(row, this.#intervalMs));
    const wrong = verdict.bad && !gone;
    this.#trouble.hidden = !wrong;
    setText(this.#trouble.firstChild!, wrong ? matterText({ row, verdict }) : "");
    setText(this.#command, wrong ? whyCommand({ row }, this.#sourceOf(domain.host)) : "");
  }

  #say(heading: string, facts: string, trouble: string): void {
    setText(this.#heading, printable(heading));
    setText(this.#facts, printable(facts));
    this.#trouble.hidden = trouble === "";
  }

  #showDevices({ vcpus, disks, interfaces, memory }: DomainRates): void {
    this.#vcpus.show(
      vcpus.map((vcpu) => [
        String(vcpu.number),
        ...[vcpu.percent, vcpu.stealPercent, vcpu.waitPercent].map((each) => known(each, percent)),
      ]),
    );
    this.#disks.show(
      disks.map((disk) => [
        disk.name,
        ...[disk.readBytesPerSecond, disk.writeBytesPerSecond].map((each) => known(each, narrowBytes)),
        ...[disk.readsPerSecond, disk.writesPerSecond].map((each) => known(each, narrowCount)),
        ...[disk.readLatencyMs, disk.writeLatencyMs, disk.flushLatencyMs].map((each) => known(each, narrowMs)),
        disk.path ?? UNKNOWN,
      ]),
    );
    this.#nics.show(
      interfaces.map((nic) => [
        nic.name,
        ...[nic.receivedBytesPerSecond, nic.transmittedBytesPerSecond].map((each) => known(each, narrowBytes)),
        ...[nic.receivedPacketsPerSecond, nic.transmittedPacketsPerSecond].map((each) => known(each, narrowCount)),
        known(sum(nic.receiveErrorsPerSecond, nic.transmitErrorsPerSecond), narrowCount),
        known(sum(nic.receiveDropsPerSecond, nic.transmitDropsPerSecond), narrowCount),
      ]),
    );
    const report = memory.guestAgeMs === undefined ? "" : `, reported ${span(memory.guestAgeMs)} before`;
    this.#memory.show([
      [`used by the guest's report${report}`, known(memory.usedBytes, narrowBytes)],
      ["total by the guest's report", known(memory.totalBytes, narrowBytes)],
      ["assigned by the host", known(memory.assignedBytes, narrowBytes)],
      ["its process on the host", known(memory.rssBytes, narrowBytes)],
    ]);
  }

  #showParameters(): void {
    if (!this.#raw.open || this.#row === undefined) return;
    this.#parameters.show([...this.#row.record.params].map(([key, value]) => [key, String(value)]));
  }
}

function known(value: number | undefined, words: (value: number) => string): string {
  return value === undefined ? UNKNOWN : words(value);
}

function sum(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined && other === undefined ? undefined : (one ?? 0) + (other ?? 0);
}
