/** Words for libvirt's state numbers (virDomainState) and, per state, its reasons (virDomain*Reason), by position. */
const STATES: readonly (readonly [state: string, reasons: readonly string[]])[] = [
  ["nostate", ["unknown"]],
  [
    "running",
    [
      "unknown",
      "booted",
      "migrated",
      "restored",
      "from-snapshot",
      "unpaused",
      "migration-canceled",
      "save-canceled",
      "wakeup",
      "crashed",
      "postcopy",
      "postcopy-failed",
    ],
  ],
  ["blocked", ["unknown"]],
  [
    "paused",
    [
      "unknown",
      "user",
      "migration",
      "save",
      "dump",
      "ioerror",
      "watchdog",
      "from-snapshot",
      "shutting-down",
      "snapshot",
      "crashed",
      "starting-up",
      "postcopy",
      "postcopy-failed",
      "api-error",
    ],
  ],
  ["shutdown", ["unknown", "user"]],
  [
    "shutoff",
    ["unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from-snapshot", "daemon"],
  ],
  ["crashed", ["unknown", "panicked"]],
  ["pmsuspended", ["unknown"]],
];

/** libvirt's number for a state's word; for drivers that make up their own domains. */
export const STATE_NUMBERS = {
  nostate: 0,
  running: 1,
  blocked: 2,
  paused: 3,
  shutdown: 4,
  shutoff: 5,
  crashed: 6,
  pmsuspended: 7,
} as const;

/** A domain's state in words, e.g. state `paused` and reason `ioerror`. */
export interface StateWords {
  readonly state: string;
  readonly reason: string;
}

/** libvirt's two numbers in words; a number that has no word yet is shown as `state-N` or `reason-N`. */
export function stateWords(state: number, reason: number): StateWords {
  const known = STATES[state];
  return {
    state: known?.[0] ?? `state-${state}`,
    reason: known?.[1][reason] ?? `reason-${reason}`,
  };
}
