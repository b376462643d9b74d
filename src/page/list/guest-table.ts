import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import type { ListView } from "../../overview/guest-list.ts";
import type { Line } from "../../overview/line.ts";
import { element, setText } from "../element.ts";
import { INTERVAL_MS } from "../interval.ts";
import { columnsFor, gridTemplate, groupsOf, type PageColumn } from "./columns.ts";
import type { CpuHistory } from "./cpu-history.ts";
import { GuestRow } from "./guest-row.ts";

/** Functions of the page that the table calls. */
export interface TableEvents {
  /** The user opens a guest or an absent host. */
  readonly onOpen: (key: string) => void;
  readonly onSort: (sort: string) => void;
  /** The columns on the screen have changed. */
  readonly onColumns: () => void;
}

/** How many rows are kept above and below the screen, so that scrolling shows no holes. */
const OVERSCAN = 8;
const ROW_HEIGHT = { fine: 28, coarse: 40 };

/** The table of guests: a grid for any number of lines, which has elements only for the rows on the screen. */
export class GuestTable {
  readonly element: HTMLElement;
  readonly #grid: HTMLElement;
  readonly #body = element("div", { role: "rowgroup", class: "rows" });
  readonly #header = element("div", { role: "row", class: "header", "aria-rowindex": "1" });
  readonly #empty = element("p", { class: "empty" });
  readonly #virtualizer: Virtualizer<HTMLElement, HTMLElement>;
  readonly #events: TableEvents;
  readonly #cpu: CpuHistory;
  /** The time between two sweeps, in ms. */
  intervalMs = INTERVAL_MS;
  readonly #rowHeight = matchMedia("(pointer: coarse)").matches ? ROW_HEIGHT.coarse : ROW_HEIGHT.fine;
  #columns: readonly PageColumn[] = [];
  #severalHosts = false;
  #rows: GuestRow[] = [];
  #lines: readonly Line[] = [];
  #view: Pick<ListView, "sort" | "ascending"> | undefined;
  #selected: string | undefined;

  constructor(cpu: CpuHistory, events: TableEvents) {
    this.#cpu = cpu;
    this.#events = events;
    this.#grid = element(
      "div",
      { role: "grid", class: "table", "aria-label": "Guests", tabindex: "0" },
      element("div", { role: "rowgroup", class: "head" }, this.#header),
      this.#body,
    );
    this.element = element("div", { class: "guests" }, this.#grid, this.#empty);
    this.#body.style.setProperty("--row-height", `${this.#rowHeight}px`);
    this.#virtualizer = new Virtualizer<HTMLElement, HTMLElement>({
      count: 0,
      getScrollElement: () => this.#grid,
      estimateSize: () => this.#rowHeight,
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      overscan: OVERSCAN,
      scrollPaddingStart: this.#rowHeight,
      onChange: () => this.#draw(),
    });
    this.#grid.addEventListener("keydown", (event) => this.#press(event));
    this.#body.addEventListener("click", (event) => this.#click(event));
    new ResizeObserver(() => this.#fit()).observe(this.#grid);
  }

  /** Call it when the element is in the document. */
  mounted(): void {
    this.#virtualizer._didMount();
    this.#virtualizer._willUpdate();
    this.#fit();
  }

  /** The groups that the columns on the screen need. */
  get groups() {
    return groupsOf(this.#columns);
  }

  focus(): void {
    this.#grid.focus();
  }

  /** Shows lines in their order. */
  show(lines: readonly Line[], view: ListView, severalHosts: boolean, empty: string): void {
    this.#lines = lines;
    if (severalHosts !== this.#severalHosts) {
      this.#severalHosts = severalHosts;
      this.#fit();
    }
    if (view.sort !== this.#view?.sort || view.ascending !== this.#view.ascending) {
      this.#view = view;
      this.#markOrder();
    }
    this.#grid.setAttribute("aria-rowcount", String(lines.length + 1));
    this.#empty.hidden = lines.length > 0;
    setText(this.#empty, lines.length > 0 ? "" : empty);
    if (this.#virtualizer.options.count !== lines.length) {
      this.#virtualizer.setOptions({ ...this.#virtualizer.options, count: lines.length });
      this.#body.style.height = `${lines.length * this.#rowHeight}px`;
      this.#virtualizer._willUpdate();
    }
    this.#draw();
  }

  /** Moves the keyboard's cursor to a line. */
  select(key: string): void {
    this.#selected = key;
    this.#draw();
  }

  #draw(): void {
    const items = this.#virtualizer.getVirtualItems();
    while (this.#rows.length < items.length) {
      const row = new GuestRow(`guest-row-${this.#rows.length}`, this.#columns, this.intervalMs);
      this.#rows.push(row);
      this.#body.append(row.element);
    }
    const used = new Set<GuestRow>();
    let active = "";
    for (const { index, start } of items) {
      const line = this.#lines[index];
      if (line === undefined) continue;
      // While the user scrolls, a line that stays on the screen keeps its element.
      const row = this.#rows[index % this.#rows.length]!;
      used.add(row);
      row.element.hidden = false;
      const selected = line.key === this.#selected;
      row.show(line, index, start, selected, this.#cpu);
      if (selected) active = row.element.id;
    }
    for (const row of this.#rows) if (!used.has(row)) row.element.hidden = true;
    if (active === "") this.#grid.removeAttribute("aria-activedescendant");
    else this.#grid.setAttribute("aria-activedescendant", active);
  }

  /** Chooses the columns for the present width. */
  #fit(): void {
    const columns = columnsFor(this.#grid.clientWidth, this.#severalHosts);
    const isSame = columns.length === this.#columns.length && columns.every((each, i) => each === this.#columns[i]);
    if (this.#grid.clientWidth === 0 || isSame) return;
    this.#columns = columns;
    this.#grid.style.setProperty("--columns", gridTemplate(columns));
    this.#grid.setAttribute("aria-colcount", String(columns.length));
    this.#header.replaceChildren(...columns.map((column) => this.#title(column)));
    this.#markOrder();
    this.#rows = [];
    this.#body.replaceChildren();
    this.#draw();
    this.#events.onColumns();
  }

  #title({ name, title, label, isText }: PageColumn): HTMLElement {
    const cell = element("div", { role: "columnheader", class: isText ? `${name} text` : name });
    if (name === "trend") {
      cell.append(element("abbr", { title: label }, title));
      return cell;
    }
    const button = element("button", { type: "button", title: label }, title);
    button.addEventListener("click", () => this.#events.onSort(name));
    cell.append(button);
    return cell;
  }

  #markOrder(): void {
    for (const [i, { name }] of this.#columns.entries()) {
      if (name === "trend") continue;
      const order = name !== this.#view?.sort ? "none" : this.#view.ascending ? "ascending" : "descending";
      this.#header.children[i]!.setAttribute("aria-sort", order);
    }
  }

  #press(event: KeyboardEvent): void {
    if (event.target !== this.#grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#grid.clientHeight / this.#rowHeight) - 2);
    const steps: Readonly<Record<string, number>> = {
      ...{ ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page },
      ...{ Home: Number.NEGATIVE_INFINITY, End: Number.POSITIVE_INFINITY },
    };
    const step = steps[event.key];
    if (step !== undefined) this.#move(step);
    else if (event.key === "Enter" && this.#selected !== undefined) this.#events.onOpen(this.#selected);
    else return;
    event.preventDefault();
  }

  #move(step: number): void {
    if (this.#lines.length === 0) return;
    const at = this.#lines.findIndex(({ key }) => key === this.#selected);
    // If nothing is selected, the first step selects the first line.
    const to = Math.max(0, Math.min(this.#lines.length - 1, at + step));
    this.#selected = this.#lines[to]!.key;
    this.#virtualizer.scrollToIndex(to, { align: "auto" });
    this.#draw();
  }

  #click(event: MouseEvent): void {
    const row = this.#rows.find(({ element: each }) => each.contains(event.target as Node));
    if (row?.key === undefined) return;
    this.#selected = row.key;
    this.#events.onOpen(row.key);
  }
}
