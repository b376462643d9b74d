import { readFileSync } from "node:fs";
import { expect } from "vitest";

/** A line of the log of `virstream serve`. */
export interface LogEntry {
  readonly [field: string]: unknown;
  readonly level: string;
  readonly time: string;
  readonly event: string;
  readonly msg: string;
}

/** The fields that each event may have, as docs/operating.md has them. */
const FIELDS = new Map(
  [
    ...readFileSync(new URL("../../docs/operating.md", import.meta.url), "utf8").matchAll(
      /^\| `([\w-]+)` \| \w+ \|([^|]*)\|/gm,
    ),
  ].map(([, event, fields]) => [event!, [...fields!.matchAll(/\w+/g)].map(([name]) => name)]),
);

/**
 * The lines of a log in JSON, each of which must be one, with no field that its document lacks. A last line without its end is left out.
 */
export function entriesOf(stderr: string): LogEntry[] {
  const entries: LogEntry[] = stderr
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
  for (const { level, time, event, msg, ...rest } of entries) {
    const unknown = Object.keys(rest).filter((field) => !FIELDS.get(event)?.includes(field));
    expect([event, unknown]).toEqual([event, []]);
  }
  return entries;
}
