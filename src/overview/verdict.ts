import { type DomainStatsRecord, isUnanswered } from "../model/record.ts";
import { isTrouble, type StateWords } from "../model/state.ts";
import { span } from "./quantity.ts";
import type { Slowness } from "./slowness.ts";

/** The verdict on a guest: what is wrong with it, or its state. A list shows it in the first column. */
export interface Verdict {
  /** A few words that fit into a narrow column: `STUCK 12s`, `I/O ERROR`, `running`. Trouble is in capitals. */
  readonly words: string;
  /** True if people should look at the guest. */
  readonly bad: boolean;
  /** The kind of trouble; undefined if there is none. */
  readonly kind?: TroubleKind;
  /** What a guest without trouble waits for; undefined if it is not slow. */
  readonly slow?: Slowness;
}

/** The kinds of trouble that a list counts, the worst first. */
export const TROUBLES = ["stuck", "io-error", "crashed", "failed", "denied", "incomplete"] as const;
/** A kind of trouble that a list counts. */
export type TroubleKind = (typeof TROUBLES)[number];

/** The rank of a verdict for sorting: the worst trouble has the lowest rank, 0. */
export function severity({ kind }: Verdict): number {
  return kind === undefined ? TROUBLES.length : TROUBLES.indexOf(kind);
}

/**
 * The verdict on a record.
 *
 * @param sinceMs how long the trouble has lasted; the words for a stuck or a crashed guest show it
 */
export function verdictOf(record: DomainStatsRecord, sinceMs: number): Verdict {
  const { status, reason, state } = record;
  if (state !== undefined && isTrouble(state)) return troubled(state, sinceMs);
  if (status === "ok") return { words: stateWord(state), bad: false };
  if (isUnanswered(record)) return { words: `STUCK ${span(sinceMs)}`, bad: true, kind: "stuck" };
  if (reason === "denied") return { words: "DENIED", bad: true, kind: "denied" };
  if (status === "failed") return { words: "ERROR", bad: true, kind: "failed" };
  if (status === "gone") return { words: "NO GUEST", bad: true, kind: "failed" };
  // With the reason `unsupported`, the hypervisor never has the missing statistics. So the guest is well.
  if (reason === "unsupported") return { words: stateWord(state), bad: false };
  return { words: "PARTIAL", bad: true, kind: "incomplete" };
}

function troubled(state: StateWords, sinceMs: number): Verdict {
  if (state.reason === "ioerror") return { words: "I/O ERROR", bad: true, kind: "io-error" };
  const crashed = state.state === "crashed" || state.reason === "crashed";
  if (crashed) return { words: `CRASHED ${span(sinceMs)}`, bad: true, kind: "crashed" };
  return { words: state.reason.replaceAll("-", " ").toUpperCase(), bad: true, kind: "failed" };
}

/** Plain words for those of libvirt's states that are hard to read. */
const STATE_WORDS: Readonly<Record<string, string>> = {
  nostate: "no state",
  shutdown: "stopping",
  shutoff: "shut off",
  pmsuspended: "suspended",
};

/** A state in a word or two; `-` if the record lacks it. */
function stateWord(state: StateWords | undefined): string {
  return state === undefined ? "-" : (STATE_WORDS[state.state] ?? state.state);
}

/** The trouble that a domain's state shows, e.g. `paused (I/O error)`; undefined when there is none. */
export function trouble({ state }: DomainStatsRecord): string | undefined {
  if (state === undefined || !isTrouble(state)) return undefined;
  const reason = state.reason === "ioerror" ? "I/O error" : state.reason.replaceAll("-", " ");
  return `${stateWord(state)} (${reason})`;
}

/**
 * The details that the verdict leaves out: why a record is incomplete, and what it lacks, e.g. `partial (timeout)
 * without block`. If the record is complete: the trouble that the state shows, or undefined.
 */
export function whyOf(record: DomainStatsRecord): string | undefined {
  const { status, reason, missing, error } = record;
  const state = trouble(record);
  if (status === "ok") return state;
  const why = reason === undefined ? "" : ` (${reason})`;
  const without = status === "partial" && missing.length > 0 ? ` without ${missing.join(", ")}` : "";
  const message = error === undefined ? "" : `: ${error.message}`;
  return `${status}${why}${without}${message}${state === undefined ? "" : `; ${state}`}`;
}
