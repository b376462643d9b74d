import { pack } from "../../src/wire/pack.ts";
import { type VectorSession, WELCOME, Writer } from "./vector-sessions.ts";

/** A session in the binary profile whose last message a client must refuse, for a reason. */
export interface RefusedSession {
  readonly why: string;
  readonly steps: VectorSession["steps"];
}

/** The bytes of a block of the schema in slot 3: one row of the domain `a` on host `h`, in which the only key is 0. */
const EMPTY = new Uint8Array(0);
const FULL = [3, 1, new Uint8Array(16).fill(1), Uint8Array.of(0), EMPTY, [], EMPTY, ["a", "h"], [], []];
/** The same of a block of changes. */
const CHANGED = [3, 1, Uint8Array.of(0), EMPTY, [], EMPTY];

type Items = Readonly<Record<number, unknown>>;
const SECOND = { 2: new Uint8Array(16).fill(2) };
/** Column 0 has the number 7. */
const NUMBER_7 = { 3: Uint8Array.of(1), 4: Uint8Array.of(0), 5: [7] };

/** A block with some of its items replaced. */
function blockOf(block: readonly unknown[], items: Items): unknown[] {
  return block.map((item, i) => items[i] ?? item);
}

const full = (items: Items = {}): unknown[] => blockOf(FULL, items);

/** The messages of the server in a session with these steps before them, of which the last one is refused. */
function session(why: string, begin: (writer: Writer) => void, ...messages: readonly (object | Uint8Array | string)[]) {
  const writer = new Writer("virstream.v1");
  begin(writer);
  for (const message of messages) {
    const packed = message instanceof Uint8Array || typeof message === "string";
    writer.steps.push({ server: packed ? message : pack(message) });
  }
  return { why, steps: writer.steps };
}

/** A sweep is under way, and slot 3 has one key of type int. */
function sweeping(writer: Writer): void {
  writer.greet();
  writer.client({ type: "get", id: 1 });
  writer.say({ type: "begin", id: 1, domains: 1 });
  writer.say({ type: "schema", slot: 3, keys: ["key"], types: [1] });
}

/** A watch was asked for. */
function asked(writer: Writer): void {
  writer.greet();
  writer.client({ type: "watch", id: 1, intervalMs: 1_000 });
}

/** A watch has begun, whose channel is 5; its snapshot of so many domains is still to come. */
function watching(domains: number): (writer: Writer) => void {
  return (writer) => {
    asked(writer);
    writer.say({ type: "schema", slot: 3, keys: ["key"], types: [1] });
    writer.say({ type: "schema", slot: 4, keys: ["other"], types: [1] });
    writer.say({ ...BEGIN, domains, statuses: [], complete: true });
  };
}

const BEGIN = { type: "begin", id: 1, channel: 5, sequence: 0, resumed: false } as const;
const SUMMARY = { domains: 1, ok: 1, partial: 0, failed: 0, gone: 0, startedAt: 0, tookMs: 1 };
const SYNC = { type: "sync", channel: 5, host: "h", overrun: 0, summary: SUMMARY, complete: true };
const rows = (...blocks: unknown[][]) => ({ type: "records", id: 1, at: [0, 0], blocks });
const changes = (members: { gone?: number[]; full?: unknown[][]; changed?: unknown[][] }) => {
  return { type: "changes", channel: 5, sequence: 1, gone: [], at: [0, 0], full: [], changed: [], ...members };
};
const changed = (items: Items) => changes({ changed: [blockOf(CHANGED, items)] });

const sweepsRows = (why: string, items: Items): RefusedSession => session(why, sweeping, rows(full(items)));
/** The messages come after the snapshot of a watch of one domain, which has number 0. */
const watched = (why: string, ...messages: object[]): RefusedSession =>
  session(why, watching(1), rows(full()), ...messages);

export const REFUSED: readonly RefusedSession[] = [
  session("an extension: a date", sweeping, Uint8Array.of(0x81, 0xa4, ...Buffer.from("type"), 0xd6, 0xff, 0, 0, 0, 1)),
  session("an array of four thousand million items, and no item", sweeping, Uint8Array.of(0xdd, 255, 255, 255, 255)),
  session("something after the message", sweeping, Uint8Array.of(...pack({ type: "beat" }), 0)),
  session("no map", sweeping, pack([1])),
  session("a text message", sweeping, JSON.stringify({ type: "beat" })),
  sweepsRows("rows of a schema of one key, with columns for none", { 3: EMPTY }),
  sweepsRows("a column of a width that is none", { 3: Uint8Array.of(0x40), 4: Uint8Array.of(9), 5: [0] }),
  sweepsRows("an int of 2^31", { 3: Uint8Array.of(0x40), 4: Uint8Array.of(0), 5: [2 ** 31] }),
  sweepsRows("a body that is longer than its columns", { 6: Uint8Array.of(1) }),
  sweepsRows("15 bytes of uuid", { 2: new Uint8Array(15) }),
  sweepsRows("a text column of two rows' middles for one row", { 7: [["a", "", ["b", "c"]], "h"] }),
  sweepsRows("a row that is ok among the statuses of those that are not", { 9: [[0, { status: "ok" }]] }),
  sweepsRows("two million rows in a few bytes", { 1: 2_000_000 }),
  session("a message before the welcome", (writer) => writer.client({ type: "hello" }), { type: "beat" }),
  session("a second welcome", sweeping, WELCOME),
  session("records of an id that is not in use", sweeping, { ...rows(full()), id: 2 }),
  session("a message of a channel that serves no watch", sweeping, { ...SYNC, sequence: 1, tick: 1 }),
  session("a watch that begins without the number of its domains", watching(1), {
    ...BEGIN,
    statuses: [],
    complete: true,
  }),
  session("a watch that resumes without having been asked to", asked, { ...BEGIN, resumed: true }),
  session("a message of a channel before the last row of the snapshot", watching(1), { ...SYNC, sequence: 1, tick: 1 }),
  session("a number twice in a snapshot", watching(2), rows(full()), rows(full())),
  watched("a row after the last one of the snapshot", rows(full({ ...SECOND, ...NUMBER_7 }))),
  watched("a sequence that leaves one out", { ...SYNC, sequence: 2, tick: 1 }),
  watched("a tick that leaves one out", { ...SYNC, sequence: 1, tick: 2 }),
  watched("a domain that leaves and is not known", changes({ gone: [7] })),
  watched("a full row of another domain than its number has", changes({ full: [full(SECOND)] })),
  watched("a full row of a domain that has another number", changes({ full: [full(NUMBER_7)] })),
  watched("changes of a number that is not known", changed({ 2: Uint8Array.of(1), 3: Uint8Array.of(0), 4: [7] })),
  watched("changes of a record of another schema", changed({ 0: 4 })),
  watched("changes with an id", changed({ 2: Uint8Array.of(4), 3: Uint8Array.of(0), 4: [1] })),
  watched(
    "changes that add up to an int of 2^31",
    changed({ 2: Uint8Array.of(0x40), 3: Uint8Array.of(0), 4: [2 ** 31 - 1] }),
    { ...changed({ 2: Uint8Array.of(0x40), 3: Uint8Array.of(0), 4: [1] }), sequence: 2 },
  ),
];
