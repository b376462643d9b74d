/**
 * The promises about the types of queries, records and events. It never runs: test/consumer.test.ts compiles it as an
 * application, with each version of TypeScript that is supported.
 */
import {
  type Connection,
  DomainStatsRecord,
  type Group,
  groupMask,
  type ParamValue,
  type RecordReason,
  type VirstreamError,
  type WatchEvent,
} from "../../src/index.ts";
import { never, same } from "./same.ts";

export function statusNarrows(record: DomainStatsRecord): string | undefined {
  switch (record.status) {
    case "ok":
      same<typeof record.error, undefined>(true);
      same<typeof record.reason, undefined>(true);
      same<typeof record.missing, readonly []>(true);
      return undefined;
    case "partial":
      same<typeof record.reason, RecordReason>(true);
      same<typeof record.missing, readonly Group[]>(true);
      // @ts-expect-error A partial record may have no error.
      return record.error.code;
    case "failed":
      same<typeof record.reason, RecordReason>(true);
      same<typeof record.error, VirstreamError>(true);
      return record.error.code;
    case "gone":
      // @ts-expect-error A domain that left has no reason.
      return record.reason.length.toString();
    default:
      never(record);
      return undefined;
  }
}

export function stateNarrows({ state }: DomainStatsRecord): void {
  if (state === undefined) return;
  if (state.state === "paused" && state.reason === "ioerror") return;
  // @ts-expect-error A running domain has no such reason.
  if (state.state === "running" && state.reason === "ioerror") return;
  // @ts-expect-error The state is misspelt.
  if (state.state === "shut-off") return;
  if (state.state === "state-9" && state.reason === "reason-4") return;
}

export function parametersHaveTypes({ params }: DomainStatsRecord, i: number, key: string): void {
  const time = params.get("cpu.time");
  same<typeof time, bigint | undefined>(true);
  const name = params.get(`block.${i}.name`);
  same<typeof name, string | undefined>(true);
  const newer = params.getUnknown(key);
  same<typeof newer, ParamValue | undefined>(true);
  // @ts-expect-error The key is misspelt.
  params.get("cpu.tmie");
  // @ts-expect-error The key is misspelt.
  params.number("cpu.tmie");
  // @ts-expect-error The key is misspelt.
  params.has("cpu.tmie");
  // @ts-expect-error A key that is known only at run time may be misspelt.
  params.get(key);
}

export function groupsAreChecked(connection: Connection, names: string[]): void {
  connection.stats({ groups: ["state", "cpu-total", "group-12"] });
  connection.watch({ groups: groupMask(names) });
  // @ts-expect-error The group is misspelt.
  connection.stats({ groups: ["cpu"] });
  // @ts-expect-error Names that are known only at run time may be misspelt.
  connection.watch({ groups: names });
}

export function eventsNarrow(event: WatchEvent): string {
  switch (event.type) {
    case "record":
      return event.record.status;
    case "gone":
      return event.domain.name;
    case "sync":
      return event.summary.domains.toString();
    case "gap":
      return event.reason;
    case "status":
      return event.state;
    default:
      never(event);
      return "";
  }
}

export function recordsTravel(thing: unknown): DomainStatsRecord {
  if (thing instanceof DomainStatsRecord) {
    same<typeof thing, DomainStatsRecord>(true);
    return thing;
  }
  const record = DomainStatsRecord.fromJSON(thing);
  // @ts-expect-error Records do not change.
  record.status = "ok";
  return record;
}
