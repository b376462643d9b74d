import { SCREEN_COLUMNS } from "../../overview/columns.ts";
import { absenceText, troubleText } from "../../overview/explanation.ts";
import type { GuestList } from "../../overview/guest-list.ts";
import { type GuestLine, isOld, type Line, nameOf } from "../../overview/line.ts";
import { span } from "../../overview/quantity.ts";
import { summaryOf } from "../../overview/summary.ts";
import { cut, pad, printable, width, wrap } from "../format/text.ts";
import { cellsOf, columnsFor, titles } from "./layout.ts";
import type { ScreenState } from "./state.ts";

/** How a line looks. Its words alone say everything that its style says. */
export type Style = "plain" | "alert" | "warn" | "title" | "selected" | "selected-alert" | "dim" | "strong";

/** One line of the screen. `frame` cuts or wraps lines that are too wide, and replaces control characters. */
export interface StyledLine {
  readonly text: string;
  readonly style: Style;
  /** True if a line that is too wide continues in the next line; otherwise it is cut. */
  readonly wraps?: true;
}

/** How large a terminal is, in cells. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/** The content of a frame. */
export interface Scene {
  readonly list: GuestList;
  readonly state: ScreenState;
  readonly size: ScreenSize;
  /** The name of the whole connection, such as its URI. */
  readonly source: string;
  /** The URI of a host, for the commands that the screen shows. */
  readonly sourceOf: (host: string) => string;
  /** Further words of these commands, with a space before each; default none. */
  readonly options?: string;
  /** The time that the screen shows, as text: the time of day, or that of the records of a recording. */
  readonly time: string;
  /** The lines of the page of the selected guest. */
  readonly guest: readonly StyledLine[];
  /** False until the first sweep has ended. */
  readonly ready: boolean;
}

/** The number of lines above and below the list: summary, titles, explanation, keys. */
const FRAME_ROWS = 4;

/** How many lines of the list fit. */
export function listRows({ rows }: ScreenSize): number {
  return Math.max(1, rows - FRAME_ROWS);
}

/** All lines of the screen, as many as its rows. */
export function frame(scene: Scene): StyledLine[] {
  const { list, state, size, time } = scene;
  const { troubles, absent } = list.totals;
  const first: StyledLine = {
    text: summaryLine(list, state, time, size.columns),
    style: troubles.size > 0 || absent > 0 ? "alert" : "strong",
  };
  const page = state.page === "help" ? help() : state.page === "guest" ? scene.guest : undefined;
  const body = page?.flatMap((line) =>
    line.wraps ? wrap(printable(line.text), size.columns).map((text) => ({ ...line, text })) : [line],
  );
  if (body !== undefined) {
    const room = Math.max(1, size.rows - 2);
    const from = Math.max(0, Math.min(state.scroll, body.length - room));
    const shown = [...body.slice(from, from + room)];
    while (shown.length < room) shown.push({ text: "", style: "plain" });
    const keys =
      state.page === "guest" ? "Enter back   p raw parameters   arrows scroll   q back" : "any of these keys; q back";
    return fitted([first, ...shown, { text: keys, style: "dim" }], size);
  }
  return fitted([first, ...listLines(scene), { text: keysLine(scene), style: "dim" }], size);
}

function listLines({ list, state, size, ready, source, sourceOf, options = "" }: Scene): StyledLine[] {
  const lines = list.lines(state);
  const several = list.totals.hosts.length > 1;
  const longest = lines.reduce((most, line) => Math.max(most, width(titleOf(line))), 0);
  const columns = columnsFor(size.columns, several, longest);
  const room = listRows(size);
  const selected = Math.max(
    0,
    lines.findIndex(({ key }) => key === state.selected),
  );
  const from = Math.max(0, Math.min(selected - Math.floor(room / 2), lines.length - room));
  const rows = lines.slice(from, from + room).map((line, i): StyledLine => {
    const bad = !("row" in line) || line.verdict.bad;
    const slow = "row" in line && line.verdict.slow !== undefined;
    const isSelected = from + i === selected && state.selected !== undefined;
    const old = "row" in line && isOld(line.row, state.intervalMs);
    const style = isSelected
      ? bad
        ? "selected-alert"
        : "selected"
      : bad
        ? "alert"
        : old
          ? "dim"
          : slow
            ? "warn"
            : "plain";
    return { text: cellsOf(columns, line), style };
  });
  if (rows.length === 0) {
    const none = ready
      ? state.filter === ""
        ? "There is no guest."
        : `No guest matches "${state.filter}".`
      : `${source}: waiting for the first sweep`;
    rows.push({ text: none, style: "plain" });
  }
  while (rows.length < room) rows.push({ text: "", style: "plain" });
  return [
    { text: titles(columns, state.sort), style: "title" },
    ...rows,
    {
      text: explanation(list, lines[selected], (line) => troubleText(line, sourceOf(line.row.domain.host), options)),
      style: "strong",
    },
  ];
}

/**
 * The first line of the screen: the hosts, the numbers of guests and of troubles, the time and the interval.
 *
 * @param columns the width of the line in cells; 0: no limit
 */
export function summaryLine(list: GuestList, state: ScreenState, time: string, columns: number): string {
  const parts = summaryOf(list.totals).map(({ text }) => text);
  const left = `virstream  ${parts.join("   ")}`;
  const right = `${state.paused ? "PAUSED" : time}  ${intervalText(state.intervalMs)}`;
  if (columns === 0) return `${left}   ${right}`;
  return `${pad(cut(left, columns - width(right) - 2), columns - width(right))}${right}`;
}

/**
 * Returns a text that says what is wrong with the selected guest, and which command helps. If nothing is wrong, the
 * text says this about a slow guest: the selected guest if it is slow, otherwise the first slow guest. If no guest is
 * slow, the text says what happened lately.
 */
function explanation(list: GuestList, line: Line | undefined, textOf: (line: GuestLine) => string): string {
  const [incident] = list.incidents;
  if (line === undefined) return incident?.text ?? "";
  if (!("row" in line)) return absenceText(line);
  if (line.verdict.bad) return textOf(line);
  const slow = line.verdict.slow === undefined ? list.slow[0] : line;
  if (slow !== undefined) return textOf(slow);
  const lately = list.incidents.slice(0, 3).map(({ text }) => text);
  return lately.length > 0 ? `lately: ${lately.join(", ")}` : "";
}

function keysLine({ list, state }: Scene): string {
  const lines = list.lines(state).length;
  const filter = state.typing ? `/${state.filter}_` : state.filter === "" ? "" : `/${state.filter}`;
  const shown = filter === "" ? "" : `${filter}   ${lines} of ${list.totals.guests.toLocaleString("en")}   `;
  const column = SCREEN_COLUMNS.find(({ name }) => name === state.sort)!;
  return `${shown}< > sort: ${column.title}   / filter   Enter guest   Space pause   + - interval   ? help   q quit`;
}

function help(): StyledLine[] {
  const sorts = SCREEN_COLUMNS.map(({ key, title }) => `${key} ${title}`);
  const plain = (text: string): StyledLine => ({ text, style: "plain" });
  return [
    { text: "Keys", style: "title" },
    plain("  arrows, PageUp, PageDown, Home, End   select a guest"),
    plain("  Enter                                 everything about the selected guest; again: back to the list"),
    plain("  p                                     there: its raw parameters"),
    plain(
      "  /                                     filter by guest, host or uuid as you type; Enter keeps it, Esc clears it",
    ),
    plain("  < >                                   sort by the next column; R the other way round"),
    ...[sorts.slice(0, 7), sorts.slice(7)].map((some, i) =>
      plain(`  ${i === 0 ? "or by its letter" : ""}`.padEnd(40) + some.join(", ")),
    ),
    plain("  Space                                 pause and continue"),
    plain("  + -                                   a longer or shorter interval"),
    plain("  Ctrl-Z                                suspend;  fg continues"),
    plain("  q, Ctrl-C                             quit"),
    { text: "Columns", style: "title" },
    plain("  CPU%    of one processor: 100 is one that is busy all the time"),
    plain("  STEAL%  of the time that a vCPU waited for a processor of the host; mean over the vCPUs"),
    plain("  MEM     in use by the guest's own report, else what its process occupies on the host"),
    plain("  LAT     mean time of a disk request"),
    plain("  AGE     how old the figures are.  - means not known, never zero"),
    plain("Trouble comes first, in red: STUCK does not answer, I/O ERROR its storage failed, CRASHED its QEMU died,"),
    plain(
      "NO HOST its host cannot be reached. In yellow: SLOW DISK its requests take 50 ms or more, STEAL it waits for",
    ),
    plain("a processor of the host 10 % of the time or more. The line above the keys names the command that helps."),
  ];
}

/** Cuts each line to the width of the screen, and leaves out lines for which the screen has no row. */
function fitted(lines: readonly StyledLine[], { columns, rows }: ScreenSize): StyledLine[] {
  return lines.slice(0, rows).map(({ text, style }) => ({ text: cut(printable(text), columns), style }));
}

function titleOf(line: Line): string {
  return "row" in line ? printable(nameOf(line.row.domain)) : `(${line.guests} guests)`;
}

function intervalText(ms: number): string {
  return ms < 1_000 ? `${ms}ms` : span(ms);
}
