import type { Absent, Recorded, SweepSummary } from "../model/record.ts";
import { errorFromWire, malformed, type WireError } from "./errors.ts";
import { LIMITS, MAX_BEAT_MS } from "./protocol.ts";

/** The server's description of itself in its first message. */
export interface Welcome {
  /** Different after each start of the server; channels and sequences of an earlier epoch are void. */
  readonly epoch: string;
  /** The program and its version. */
  readonly server: string;
  /** The name of the host whose domains the server sends; for several hosts, all names with commas between them. */
  readonly host: string;
  readonly hypervisor: string;
  /** The longest time in which the server sends nothing, in ms. */
  readonly beatMs: number;
  /** The shortest interval that a watch may ask for, in ms. */
  readonly minIntervalMs: number;
  /**
   * The time on the server's steady clock when it sends the welcome, in ms. The steady times of its records are on the
   * same clock.
   */
  readonly steadyMs: number;
  /** The names of the groups that this client may query; absent: all groups. */
  readonly groups?: readonly string[];
  /**
   * The beginning and the end of a recording, in ms since 1970, and the time between its sweeps; absent: the hosts are
   * live.
   */
  readonly recorded?: Recorded;
}

/** The summary of a sweep, as it is on the wire. */
export interface WireSummary extends Omit<SweepSummary, "absent"> {
  readonly absent?: readonly { readonly host: string; readonly error: WireError }[];
}

/** The end of a tick, as it is on the wire. */
export interface WireSync {
  readonly tick: number;
  readonly host: string;
  readonly overrun: number;
  readonly summary: WireSummary;
}

/** The state of a source, as it is on the wire. */
export interface WireStatus {
  readonly state: string;
  readonly host?: string;
  readonly error?: WireError;
}

/** The members of a watch's `begin`. */
export interface WatchStart {
  readonly channel: number;
  /** The channel's next message has the sequence after this one. */
  readonly sequence: number;
  /** True if the watch continues where it stopped; then the members below are absent. */
  readonly resumed: boolean;
  /** The end of the channel's last tick; undefined if no tick has ended yet. */
  readonly sync?: WireSync;
  /** The sources that are not connected. */
  readonly statuses?: readonly WireStatus[];
  /** True if the channel has the domains of all hosts that can be reached. */
  readonly complete?: boolean;
}

type Numbered = { readonly channel: number; readonly sequence: number };

/** The server's messages that carry no records. All are maps (objects) with a `type`, in both profiles. */
export type ServerMessage =
  | ({ readonly type: "welcome" } & Welcome)
  | {
      readonly type: "schema";
      readonly slot: number;
      readonly keys: readonly string[];
      readonly types: readonly number[];
    }
  /** `domains`: how many records follow with this id; absent if the number is not known. */
  | ({ readonly type: "begin"; readonly id: number; readonly domains?: number } & Partial<WatchStart>)
  | ({ readonly type: "sync"; readonly complete: boolean } & Numbered & WireSync)
  | ({ readonly type: "status" } & Numbered & WireStatus)
  | ({ readonly type: "gap"; readonly reason: string; readonly skipped?: number; readonly host?: string } & Numbered)
  | { readonly type: "end"; readonly id: number; readonly summary?: WireSummary; readonly error?: WireError }
  /** `host`: the present value of the welcome's `host`, if it has changed since the server last sent it. */
  | { readonly type: "beat"; readonly host?: string };

/** A message from a server before its members are checked. */
export type RawMessage = Readonly<Record<string, unknown>>;

/** A member of a message, which `isValid` checks. @throws VirstreamError `protocol-error` */
function memberOf<T>(message: RawMessage, member: string, isValid: (value: unknown) => boolean): T {
  const value = message[member];
  if (isValid(value)) return value as T;
  const { type } = message;
  throw malformed(`${typeof type === "string" ? `a ${type}` : "a part of a message"} has no valid ${member}`);
}

/** A member that is a whole number from 0 to `most`. @throws VirstreamError `protocol-error` */
export function wholeOf(message: RawMessage, member: string, most = Number.MAX_SAFE_INTEGER): number {
  return memberOf(message, member, (value) => {
    return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
  });
}

/** @throws VirstreamError `protocol-error` */
export function textOf(message: RawMessage, member: string): string {
  return memberOf(message, member, (value) => typeof value === "string");
}

/** A text; undefined if the message lacks the member. @throws VirstreamError `protocol-error` */
export function optionalTextOf(message: RawMessage, member: string): string | undefined {
  const value = message[member];
  return value === undefined || value === null ? undefined : textOf(message, member);
}

/** @throws VirstreamError `protocol-error` */
export function booleanOf(message: RawMessage, member: string): boolean {
  return memberOf(message, member, (value) => typeof value === "boolean");
}

/** @throws VirstreamError `protocol-error` */
export function listOf(message: RawMessage, member: string): readonly unknown[] {
  return memberOf(message, member, Array.isArray);
}

function numberOf(message: RawMessage, member: string): number {
  return memberOf(message, member, (value) => typeof value === "number");
}

/** Checks that a part of a message is a map; the error calls it `what`. @throws VirstreamError `protocol-error` */
export function mapOf(value: unknown, what: string): RawMessage {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as RawMessage;
  throw malformed(`${what} is not a map`);
}

const SUMMARY_MEMBERS = ["domains", "ok", "partial", "failed", "gone", "startedAt", "tookMs"] as const;
const RECORDED_MEMBERS = ["from", "to", "intervalMs"] as const;

/** The numbers with these names in a part of a message. @throws VirstreamError `protocol-error` */
function numbersOf<T>(part: object, members: readonly string[]): T {
  return Object.fromEntries(members.map((member) => [member, numberOf(part as RawMessage, member)])) as T;
}

function absentOf(value: unknown): Absent {
  const map = mapOf(value, "an absent host");
  const error = errorFromWire(map["error"]);
  if (error === undefined) throw malformed("an absent host has no valid error");
  return { host: textOf(map, "host"), error };
}

/** The summary of a sweep as a message has it. */
export function summaryToWire({ absent, ...numbers }: SweepSummary): WireSummary {
  if (absent === undefined) return numbers;
  return { ...numbers, absent: absent.map(({ host, error }) => ({ host, error: error.toJSON() })) };
}

/** A summary from the wire. @throws VirstreamError `protocol-error` */
export function summaryOf(value: unknown): SweepSummary {
  const map = mapOf(value, "a summary");
  const numbers = numbersOf<SweepSummary>(map, SUMMARY_MEMBERS);
  const { absent } = map;
  return absent === undefined || absent === null
    ? numbers
    : { ...numbers, absent: listOf(map, "absent").map(absentOf) };
}

const isBeat = (value: unknown): boolean => typeof value === "number" && value > 0 && value <= MAX_BEAT_MS;

/** @throws VirstreamError `protocol-error` */
export function welcomeOf(message: RawMessage): Welcome {
  const text = (member: string): string => textOf(message, member);
  const { groups, recorded } = message;
  return {
    epoch: text("epoch"),
    server: text("server"),
    host: text("host"),
    hypervisor: text("hypervisor"),
    beatMs: memberOf(message, "beatMs", isBeat),
    minIntervalMs: numberOf(message, "minIntervalMs"),
    steadyMs: memberOf(message, "steadyMs", Number.isFinite),
    ...(groups !== undefined && { groups: listOf(message, "groups").map((group) => textOf({ group }, "group")) }),
    ...(recorded ? { recorded: numbersOf<Recorded>(recorded, RECORDED_MEMBERS) } : undefined),
  };
}

/** The id of the sweep or watch that a message is for. */
export function idOf(message: RawMessage): number {
  return wholeOf(message, "id", LIMITS.id);
}
