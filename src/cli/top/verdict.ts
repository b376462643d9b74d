import { type DomainStatsRecord, isUnanswered } from "../../model/record.ts";
import { isTrouble, type StateWords } from "../../model/state.ts";
import { stateWord } from "../format/column.ts";

/** What a list says of a guest first. */
export interface Verdict {
  /** A few words that fit into a narrow column: `STUCK 12s`, `I/O ERROR`, `running`. Trouble is in capitals. */
  readonly words: string;
  /** Whether people should look at it. */
  readonly bad: boolean;
  /** What kind of trouble it is; undefined where there is none. */
  readonly kind?: TroubleKind;
}

/** The kinds of trouble that a list counts. */
export type TroubleKind = "stuck" | "io-error" | "crashed" | "failed" | "denied" | "incomplete";

/**
 * The verdict on a record.
 *
 * @param sinceMs for how long the trouble has lasted, if it is trouble that lasts
 */
export function verdictOf(record: DomainStatsRecord, sinceMs: number): Verdict {
  const { status, reason, state } = record;
  if (state !== undefined && isTrouble(state)) return troubled(state, sinceMs);
  if (status === "ok") return { words: stateWord(state), bad: false };
  if (isUnanswered(record)) return { words: `STUCK ${span(sinceMs)}`, bad: true, kind: "stuck" };
  if (reason === "denied") return { words: "DENIED", bad: true, kind: "denied" };
  if (status === "failed") return { words: "ERROR", bad: true, kind: "failed" };
  if (status === "gone") return { words: "NO GUEST", bad: true, kind: "failed" };
  // Statistics that the hypervisor never has: the guest itself is well.
  if (reason === "unsupported") return { words: stateWord(state), bad: false };
  return { words: "PARTIAL", bad: true, kind: "incomplete" };
}

function troubled(state: StateWords, sinceMs: number): Verdict {
  if (state.reason === "ioerror") return { words: "I/O ERROR", bad: true, kind: "io-error" };
  const crashed = state.state === "crashed" || state.reason === "crashed";
  if (crashed) return { words: `CRASHED ${span(sinceMs)}`, bad: true, kind: "crashed" };
  return { words: state.reason.replaceAll("-", " ").toUpperCase(), bad: true, kind: "failed" };
}

/** A time in at most four characters: `12s`, `3m`, `7h`, `12d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
