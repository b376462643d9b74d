import { SCREEN_COLUMNS } from "../../overview/columns.ts";
import type { ListView } from "../../overview/guest-list.ts";
import { sortedBy } from "../../overview/guest-list.ts";

/** The user's choices. The state never changes in place: `press` computes the next state from a key. */
export interface ScreenState extends ListView {
  /** The key of the selected line; undefined: the first line is selected. */
  readonly selected: string | undefined;
  /** The page that fills the screen. */
  readonly page: "list" | "guest" | "help";
  /** True if the page of a guest shows the guest's raw parameters. */
  readonly raw: boolean;
  /** How far the page of a guest or the help is scrolled, in lines. */
  readonly scroll: number;
  /** True if keys go to the filter. */
  readonly typing: boolean;
  readonly paused: boolean;
  readonly intervalMs: number;
  /** True if the user wants to leave. */
  readonly quit: boolean;
}

/** A key in the form of Node's readline. */
export interface Key {
  /** The name: `up`, `return`, `q`; undefined for characters without one. */
  readonly name?: string | undefined;
  /** The characters that the terminal sent. */
  readonly sequence: string;
  readonly ctrl?: boolean | undefined;
  readonly shift?: boolean | undefined;
}

/** The choices before the user has pressed any key. */
export function initialState(intervalMs: number): ScreenState {
  return {
    ...{ sort: "cpu", ascending: false, filter: "", selected: undefined, page: "list", raw: false, scroll: 0 },
    ...{ typing: false, paused: false, intervalMs, quit: false },
  };
}

/** The intervals that the user can choose, in ms. */
const INTERVALS = [250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/**
 * Returns the state after the user has pressed a key.
 *
 * @param keys the keys by which the list identifies its lines, in the order of the lines
 * @param pageRows how many lines the list shows
 */
export function press(state: ScreenState, key: Key, keys: readonly string[], pageRows: number): ScreenState {
  if (key.ctrl && key.name === "c") return { ...state, quit: true };
  if (state.typing) return type(state, key);
  const typed = key.sequence;
  const move = (by: number): ScreenState => {
    if (state.page !== "list") return { ...state, scroll: Math.max(0, state.scroll + by) };
    if (keys.length === 0) return state;
    const at = Math.max(0, keys.indexOf(state.selected ?? ""));
    return { ...state, selected: keys[Math.max(0, Math.min(keys.length - 1, at + by))] };
  };
  switch (key.name) {
    case "up":
      return move(-1);
    case "down":
      return move(1);
    case "pageup":
      return move(-pageRows);
    case "pagedown":
      return move(pageRows);
    case "home":
      return move(Number.NEGATIVE_INFINITY);
    case "end":
      return move(Number.POSITIVE_INFINITY);
    case "return":
    case "enter":
      return state.page === "list" && keys.length > 0
        ? { ...state, page: "guest", scroll: 0, raw: false, selected: state.selected ?? keys[0] }
        : { ...state, page: "list" };
    case "escape":
      return state.page === "list" ? { ...state, filter: "" } : { ...state, page: "list" };
    case "space":
      return { ...state, paused: !state.paused };
  }
  if (typed === "q") return state.page === "list" ? { ...state, quit: true } : { ...state, page: "list" };
  if (typed === "?") return { ...state, page: state.page === "help" ? "list" : "help", scroll: 0 };
  if (typed === "+" || typed === "-")
    return { ...state, intervalMs: stepped(state.intervalMs, typed === "+" ? 1 : -1) };
  if (state.page === "guest") return typed === "p" ? { ...state, raw: !state.raw, scroll: 0 } : state;
  if (state.page !== "list") return state;
  if (typed === "/") return { ...state, typing: true, filter: "" };
  if (typed === "<" || typed === ">")
    return { ...state, ...sortedBy(state, neighbour(state.sort, typed === ">" ? 1 : -1)) };
  if (typed === "R") return { ...state, ascending: !state.ascending };
  const column = SCREEN_COLUMNS.find((each) => each.key === typed);
  return column === undefined ? state : { ...state, ...sortedBy(state, column.name) };
}

/** Returns the state after the user has pressed a key while typing a filter. */
function type(state: ScreenState, { name, sequence, ctrl }: Key): ScreenState {
  if (name === "return" || name === "enter") return { ...state, typing: false };
  if (name === "escape") return { ...state, typing: false, filter: "" };
  if (name === "backspace") return { ...state, filter: [...state.filter].slice(0, -1).join("") };
  if (ctrl && name === "u") return { ...state, filter: "" };
  return /^[^\p{Cc}]+$/u.test(sequence) && !ctrl ? { ...state, filter: state.filter + sequence } : state;
}

function neighbour(sort: string, by: number): string {
  const at = SCREEN_COLUMNS.findIndex(({ name }) => name === sort) + by;
  return SCREEN_COLUMNS[(at + SCREEN_COLUMNS.length) % SCREEN_COLUMNS.length]!.name;
}

function stepped(intervalMs: number, by: number): number {
  const at = INTERVALS.findIndex((each) => each >= intervalMs);
  return INTERVALS[Math.max(0, Math.min(INTERVALS.length - 1, (at < 0 ? INTERVALS.length - 1 : at) + by))]!;
}
