/** A line of the log of `virstream serve`. */
export interface LogEntry {
  readonly [field: string]: unknown;
  readonly level: string;
  readonly time: string;
  readonly event: string;
  readonly msg: string;
}

/** The lines of a log in JSON, each of which must be one. A last line without its end is left out. */
export function entriesOf(stderr: string): LogEntry[] {
  return stderr
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}
