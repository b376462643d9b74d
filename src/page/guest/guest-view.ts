import type { DomainRates } from "../../client/rates/domain-rates.ts";
import type { TableRow } from "../../client/table/rows.ts";
import { cellOf } from "../../overview/columns.ts";
import { DEVICE_RATES, type Device, deviceLines } from "../../overview/devices.ts";
import { matterText, whyCommand } from "../../overview/explanation.ts";
import { factsText, type GuestLine, isOld, judged, nameOf } from "../../overview/line.ts";
import { known, narrowBytes, narrowMs, percent, span } from "../../overview/quantity.ts";
import type { Slowness } from "../../overview/slowness.ts";
import { type TroubleKind, verdictOf } from "../../overview/verdict.ts";
import { printable } from "../../overview/words.ts";
import { element, setText } from "../element.ts";
import { INTERVAL_MS } from "../interval.ts";
import { Chart, type ChartOptions } from "./chart.ts";
import { FigureTable } from "./figure-table.ts";
import { type AskWhy, GuestDiagnosis } from "./guest-diagnosis.ts";
import { CHARTS, type ChartName, GuestHistory } from "./guest-history.ts";

const CHART_OPTIONS: Readonly<Record<ChartName, ChartOptions>> = {
  cpu: { title: "CPU, percent of one processor, by virtual CPU", words: percent, stacked: true, points: false },
  steal: { title: "Steal, percent", words: percent, stacked: false, points: false },
  latency: { title: "Disk latency", words: narrowMs, stacked: false, points: true },
  throughput: { title: "Disk, bytes per second", words: narrowBytes, stacked: false, points: false },
  network: { title: "Network, bytes per second", words: narrowBytes, stacked: false, points: false },
  memory: { title: "Memory, bytes", words: narrowBytes, stacked: false, points: false },
};

/** The tables of devices, in their order. */
const CAPTIONS: readonly (readonly [device: Device, caption: string])[] = [
  ["vcpu", "Virtual CPUs"],
  ["disk", "Disks"],
  ["nic", "Network interfaces"],
];

/** The view of one guest, beside the table: what is wrong with it, charts of the last minutes, and its devices. */
export class GuestView {
  readonly element: HTMLElement;
  readonly #heading = element("h2", { tabindex: "-1", id: "guest-name" });
  readonly #facts = element("p", { class: "facts" });
  readonly #trouble = element("p", { class: "explanation" });
  readonly #command = element("code");
  readonly #diagnosis: GuestDiagnosis;
  readonly #charts = new Map(CHARTS.map((name) => [name, new Chart(CHART_OPTIONS[name])]));
  readonly #devices: ReadonlyMap<Device, FigureTable> = new Map(
    CAPTIONS.map(([device, caption]) => [
      device,
      new FigureTable(
        caption,
        DEVICE_RATES[device].map(({ title }) => title),
      ),
    ]),
  );
  readonly #memory = new FigureTable("Memory", ["", "bytes"]);
  readonly #parameters = new FigureTable("All parameters", ["Parameter", "Value"]);
  readonly #raw: HTMLDetailsElement;
  /** The time between two sweeps, in ms. */
  intervalMs = INTERVAL_MS;
  readonly #sourceOf: (host: string) => string;
  readonly #now: () => number;
  #history = new GuestHistory();
  #key: string | undefined;
  /**
   * The kind of the guest's trouble, or undefined for none, and since when this has been so, in ms of the page's clock.
   */
  #since: { readonly kind: TroubleKind | undefined; readonly at: number } | undefined;
  #row: TableRow | undefined;
  /** The resource for which the guest waits, as the list says. */
  #slow: Slowness | undefined;

  /**
   * @param sourceOf returns the URI of a host, for commands
   * @param why asks the server what is wrong with a guest
   * @param now the clock of the list, in ms
   */
  constructor(onClose: () => void, sourceOf: (host: string) => string, why: AskWhy, now: () => number) {
    this.#now = now;
    this.#diagnosis = new GuestDiagnosis(why, () => this.tick());
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
      this.#diagnosis.element,
      this.#facts,
      ...[...this.#charts.values()].map((chart) => chart.element),
      ...[...this.#devices.values(), this.#memory].map((table) => table.element),
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
    for (const table of [...this.#devices.values(), this.#memory, this.#parameters]) table.show([]);
    this.#trouble.hidden = true;
    this.#diagnosis.hide();
    this.#say(printable(key.split("\n")[1] ?? key), "waiting for its first record");
    this.#heading.focus();
  }

  close(): void {
    this.#key = undefined;
    this.#row = undefined;
    this.element.hidden = true;
    this.#diagnosis.hide();
    for (const chart of this.#charts.values()) chart.dispose();
  }

  /**
   * Shows the newest record.
   *
   * @param line the guest's line in the list, which says since when it has its trouble, and whether it is slow;
   *   undefined if the list does not have the guest
   */
  show(row: TableRow, line: GuestLine | undefined): void {
    this.#slow = line?.verdict.slow;
    const { kind } = verdictOf(row.record, 0);
    const before = this.#since?.kind === kind ? this.#since?.at : undefined;
    this.#since = { kind, at: line?.since ?? before ?? this.#now() };
    this.#row = row;
    this.#history.take(row.rates);
    this.tick();
    for (const [name, chart] of this.#charts) chart.draw(this.#history.times, this.#history.lines(name));
    this.#showDevices(judged(row, this.#now()));
    this.#showParameters();
  }

  /**
   * Takes samples that are older than the newest record, for the charts.
   *
   * @param jumped true if these samples do not continue those of the charts; the charts then drop their samples
   */
  fill(samples: readonly DomainRates[], jumped: boolean): void {
    if (jumped) {
      this.#history = new GuestHistory();
      this.#since = undefined;
    }
    for (const rates of samples) this.#history.take(rates);
  }

  /** Updates the ages. Call it once per second. */
  tick(): void {
    const row = this.#row;
    if (row === undefined) return;
    const { record } = row;
    const { domain } = record;
    const plain = verdictOf(record, this.#now() - (this.#since?.at ?? this.#now()));
    const slow = plain.kind === undefined ? this.#slow : undefined;
    const verdict = slow === undefined ? plain : { ...plain, words: slow.words, slow };
    const gone = record.status === "gone";
    this.#say(`${nameOf(domain)} on ${domain.host}: ${gone ? "has left" : verdict.words}`, factsText(row));
    this.element.classList.toggle("bad", verdict.bad);
    this.element.classList.toggle("slow", slow !== undefined);
    this.element.classList.toggle("old", isOld(row, this.intervalMs));
    const wrong = (verdict.bad || slow !== undefined) && !gone;
    if (!wrong) this.#diagnosis.hide();
    // Shows the short text for as long as there is no diagnosis from the server.
    this.#trouble.hidden = !wrong || this.#diagnosis.show(row.key, domain);
    setText(this.#trouble.firstChild!, wrong ? matterText({ row, verdict }) : "");
    setText(this.#command, wrong ? whyCommand({ row }, this.#sourceOf(domain.host)) : "");
  }

  #say(heading: string, facts: string): void {
    setText(this.#heading, printable(heading));
    setText(this.#facts, printable(facts));
  }

  #showDevices(line: GuestLine): void {
    for (const [device, table] of this.#devices) {
      const columns = DEVICE_RATES[device];
      table.show(deviceLines(line, device).map((part) => columns.map((column) => cellOf(column, part))));
    }
    const { memory } = line.row.rates;
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
