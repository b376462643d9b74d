import { GAP_REASONS, type GapEvent, type StatusEvent, WATCH_STATES } from "../model/watch.ts";
import { malformed, type WireValue } from "./encoding.ts";
import { errorFromWire, errorToWire } from "./error-map.ts";

/** What a channel says of its source, as it travels: the items of STATUS and GAP after channel and sequence. */

/** `[state, host, error]`. */
export function statusEventToWire({ state, host, error }: StatusEvent): readonly WireValue[] {
  return [WATCH_STATES.indexOf(state), host ?? null, errorToWire(error)];
}

/** The counterpart; a state that this version does not know is `degraded`. */
export function statusEventFromWire(state: WireValue, host: WireValue, error: WireValue): StatusEvent {
  if (typeof state !== "number") throw malformed("a state is no number");
  return {
    type: "status",
    state: WATCH_STATES[state] ?? "degraded",
    host: hostFromWire(host),
    error: errorFromWire(error),
  };
}

/** `[skipped, reason, host]`. */
export function gapEventToWire({ skipped, reason, host }: GapEvent): readonly WireValue[] {
  return [skipped ?? null, GAP_REASONS.indexOf(reason) + 1, host ?? null];
}

/** The counterpart; a reason that this version does not know is `source`. */
export function gapEventFromWire(skipped: WireValue, reason: WireValue, host: WireValue): GapEvent {
  const whole = typeof skipped === "number" && Number.isSafeInteger(skipped) && skipped >= 0;
  if (skipped !== null && !whole) throw malformed("a gap's count is no whole number");
  if (typeof reason !== "number") throw malformed("a gap's reason is no number");
  return {
    type: "gap",
    reason: GAP_REASONS[reason - 1] ?? "source",
    skipped: whole ? skipped : undefined,
    host: hostFromWire(host),
  };
}

function hostFromWire(host: WireValue): string | undefined {
  if (host === null) return undefined;
  if (typeof host === "string") return host;
  throw malformed("a host is no text");
}
