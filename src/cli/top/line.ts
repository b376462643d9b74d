import type { TableRow } from "../../client/table/rows.ts";
import type { Absent } from "../../model/record.ts";
import type { Verdict } from "./verdict.ts";

/** One line of the list: a guest, or a host that is absent. */
export type Line = GuestLine | HostLine;

/** A guest. */
export interface GuestLine {
  readonly key: string;
  readonly row: TableRow;
  readonly verdict: Verdict;
  /** Since when its record is not whole, or its state tells of trouble, in ms of the list's clock. */
  readonly since: number;
}

/** A host that cannot be reached, in place of its guests. */
export interface HostLine {
  readonly key: string;
  readonly host: Absent;
  /** How many guests it had. */
  readonly guests: number;
  /** How old the newest record of them is, in ms; undefined where there is none. */
  readonly ageMs: number | undefined;
}
