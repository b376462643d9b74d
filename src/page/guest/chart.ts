import uPlot from "uplot";
import { printable } from "../../overview/words.ts";
import { element } from "../element.ts";
import type { ChartLines } from "./guest-history.ts";

/** The appearance of a chart. */
export interface ChartOptions {
  readonly title: string;
  readonly words: (value: number) => string;
  /** True if each line is drawn on top of the line before, so that the values add up. */
  readonly stacked: boolean;
  /**
   * True for a figure that is often unknown: it is also drawn as points, because a single sample between two unknown
   * values has no line.
   */
  readonly points: boolean;
}

const HEIGHT = 130;
/** How much time a chart shows, in s. */
const SPAN_S = 300;
const COLOURS = 6;
/** The charts of one guest share a time axis, and, by this key of uPlot, a cursor. */
const SYNC = "guest";

/** A chart over time. */
export class Chart {
  readonly element: HTMLElement;
  readonly #options: ChartOptions;
  readonly #place = element("div", { class: "plot" });
  #plot: uPlot | undefined;
  #labels = "";
  #lines: ChartLines = new Map();
  #times: readonly number[] = [];

  constructor(options: ChartOptions) {
    this.#options = options;
    this.element = element("figure", { class: "chart" }, element("figcaption", {}, options.title), this.#place);
  }

  /** Draws the lines. Call it when the element is in the document. */
  draw(times: readonly number[], lines: ChartLines): void {
    this.#times = times;
    this.#lines = lines;
    this.element.hidden = lines.size === 0;
    const labels = [...lines.keys()].join("\n");
    if (this.#plot === undefined || labels !== this.#labels) {
      this.#labels = labels;
      this.restyle();
    } else this.#plot.setData(this.#data());
  }

  /** Draws everything again. Called when the colours or the lines have changed. */
  restyle(): void {
    this.#plot?.destroy();
    this.#plot = undefined;
    const width = this.#place.clientWidth;
    if (this.#lines.size > 0 && width > 0) this.#plot = new uPlot(this.#describe(width), this.#data(), this.#place);
  }

  /** Adapts the drawing to the present width of the chart's element. */
  resize(): void {
    const width = this.#place.clientWidth;
    if (this.#plot === undefined) this.restyle();
    else if (width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
  }

  dispose(): void {
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  #data(): uPlot.AlignedData {
    const lines = [...this.#lines.values()];
    if (!this.#options.stacked) return [this.#times, ...lines] as uPlot.AlignedData;
    const sums = this.#times.map(() => 0);
    const stacked = lines.map((line) =>
      line.map((value, i) => {
        if (value === null) return null;
        sums[i]! += value;
        return sums[i]!;
      }),
    );
    return [this.#times as number[], ...stacked];
  }

  #describe(width: number): uPlot.Options {
    const { words, stacked, points } = this.#options;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const [ink, faint] = [colour("--soft"), colour("--line")];
    const known = (value: number | null | undefined): string => (value == null ? "-" : words(value));
    const labels = [...this.#lines.keys()];
    const series = labels.map((label, i): uPlot.Series => {
      const own = colour(`--series-${(i % COLOURS) + 1}`);
      return {
        label: printable(label),
        stroke: own,
        width: 1.5,
        // When all colours are used, the further lines have the same colours and are dashed.
        ...(i >= COLOURS && { dash: [6, 3] }),
        ...(stacked && { fill: `${own}55` }),
        points: { show: points, size: 3 },
        value: (_plot, _value, _series, at) => known(this.#lines.get(label)?.at(at ?? -1)),
      };
    });
    const time = (seconds: number): string => new Date(seconds * 1_000).toLocaleTimeString("en-GB");
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
    return {
      ...{
        width,
        height: HEIGHT,
        series: [{ label: "Time", value: (_plot, at) => (at == null ? "now" : time(at)) }, ...series],
      },
      scales: {
        x: { range: (_plot, _min, max) => [max - SPAN_S, max] },
        y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
      },
      axes: [
        { ...axis, values: (_plot, splits) => splits.map(time), space: 80 },
        { ...axis, values: (_plot, splits) => splits.map(words), size: 64 },
      ],
      cursor: { sync: { key: SYNC }, drag: { x: false, y: false } },
      legend: { live: true },
      ...(stacked && { bands: labels.slice(1).map((_, i): uPlot.Band => ({ series: [i + 2, i + 1] })) }),
    };
  }
}
