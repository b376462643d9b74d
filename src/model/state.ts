/**
 * The row with the index n has the word for libvirt's state number n (virDomainState), and then the words for the
 * reasons of this state (virDomain*Reason), in the order of their numbers.
 */
// biome-ignore format: one state per line
const STATES = [
  ["nostate", "unknown"],
  ["running", "unknown booted migrated restored from-snapshot unpaused migration-canceled save-canceled wakeup crashed postcopy postcopy-failed"],
  ["blocked", "unknown"],
  ["paused", "unknown user migration save dump ioerror watchdog from-snapshot shutting-down snapshot crashed starting-up postcopy postcopy-failed api-error"],
  ["shutdown", "unknown user"],
  ["shutoff", "unknown shutdown destroyed crashed migrated saved failed from-snapshot daemon"],
  ["crashed", "unknown panicked"],
  ["pmsuspended", "unknown"],
] as const;

type StateRow = (typeof STATES)[number];

/** The words of a text that are separated by spaces, as a union of string types. */
type Word<Text extends string> = Text extends `${infer One} ${infer Rest}` ? One | Word<Rest> : Text;

/**
 * A domain's state in words, e.g. state `paused` and reason `ioerror`. Each state has its own reasons. A newer libvirt
 * may have more states and reasons: those without a known word are `state-<number>` and `reason-<number>`.
 */
export type StateWords =
  | {
      [Row in StateRow as Row[0]]: { readonly state: Row[0]; readonly reason: Word<Row[1]> | `reason-${number}` };
    }[StateRow[0]]
  | { readonly state: `state-${number}`; readonly reason: `reason-${number}` };

/**
 * The states that mean a failure only for some reasons, each with these reasons. The state `crashed` is not in the
 * list: it always means a failure.
 */
const TROUBLES: Readonly<Record<string, readonly string[]>> = {
  running: ["postcopy-failed"],
  paused: ["ioerror", "watchdog", "crashed", "postcopy-failed", "api-error"],
  shutoff: ["crashed", "failed", "daemon"],
};

/** True if a domain is in this state because something failed: its storage, its QEMU, a migration. */
export function isTrouble({ state, reason }: StateWords): boolean {
  return state === "crashed" || TROUBLES[state]?.includes(reason) === true;
}

/**
 * Converts libvirt's numbers of a state and of its reason to words. A number without a known word becomes `state-N` or
 * `reason-N`.
 */
export function stateWords(state: number, reason: number): StateWords {
  const [word, reasons] = STATES[state] ?? [];
  return {
    state: word ?? `state-${state}`,
    reason: reasons?.split(" ")[reason] ?? `reason-${reason}`,
  } as StateWords;
}
