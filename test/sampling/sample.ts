import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../src/model/record.ts";
import { Schema } from "../../src/model/schema.ts";
import { NIL_UUID } from "../../src/model/uuid.ts";

/** A record to be told: who it is of, and what is not usual about it. */
export interface Sample extends Partial<Omit<RecordInit, "domain" | "params">> {
  /** Its last digits; 0 is the uuid of one that was asked for by a name that nobody has. */
  readonly uuid?: number;
  readonly name?: string;
  readonly id?: number;
  readonly host?: string;
  /** Its values, of parameters named by letters. */
  readonly cells?: readonly ParamValue[];
  readonly types?: readonly number[];
}

/** The uuid that ends in a number. */
export function uuidOf(number: number): string {
  return `00000000-0000-4000-8000-${number.toString(16).padStart(12, "0")}`;
}

/** A record. Each one has a schema of its own: sharing schemas is what a driver may do. */
export function sample(init: Sample = {}): DomainStatsRecord {
  const { uuid = 1, name = `domain-${uuid}`, id = uuid, host = "hv1", cells = [1], types, ...rest } = init;
  const keys = cells.map((_, i) => String.fromCharCode(97 + i));
  return new DomainStatsRecord({
    domain: new Domain(uuid === 0 ? NIL_UUID : uuidOf(uuid), name, id, host),
    params: TypedParams.of(new Schema(keys, Uint8Array.from(types ?? cells.map(() => 4))), cells),
    status: "ok",
    index: uuid,
    sampledAt: 1_790_000_000_000,
    tookMs: 1,
    ...rest,
  });
}
