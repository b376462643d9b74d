import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Connection } from "../../src/client/connection.ts";
import { remoteDriver } from "../../src/drivers/remote/driver.ts";
import type { Socket } from "../../src/drivers/remote/socket.ts";
import { ERROR_CODES, VirstreamError } from "../../src/model/error.ts";
import { GROUPS } from "../../src/model/group.ts";
import { ParamType, TypedParams } from "../../src/model/params.ts";
import { LIST_FILTERS, StatsFlag } from "../../src/model/query.ts";
import { DomainStatsRecord, RECORD_REASONS, RECORD_STATUSES } from "../../src/model/record.ts";
import { SchemaTable } from "../../src/model/schema.ts";
import { GAP_REASONS, WATCH_STATES, type WatchEvent } from "../../src/model/watch.ts";
import { DEFAULT_PORT, serve } from "../../src/server/server.ts";
import { ChangesFrame } from "../../src/wire/changes-frame.ts";
import type { ChannelMessage } from "../../src/wire/channel-encoder.ts";
import type { WireValue } from "../../src/wire/encoding.ts";
import { HostTable } from "../../src/wire/host-table.ts";
import { JsonWriter } from "../../src/wire/json.ts";
import { MessageDecoder, type ServerMessage } from "../../src/wire/message-decoder.ts";
import { MessageEncoder, type WireMessage } from "../../src/wire/message-encoder.ts";
import { MsgpackReader } from "../../src/wire/msgpack-reader.ts";
import { MsgpackWriter } from "../../src/wire/msgpack-writer.ts";
import {
  BEAT_MS,
  CHANGES_HEAD,
  CLOSE_CODES,
  DEFAULT_CREDIT,
  FIRST_IGNORABLE_TYPE,
  HELLO_TIMEOUT_MS,
  LIMITS,
  MessageType,
  PROGRESS_TIMEOUT_MS,
  ROW_HEAD,
  SUBPROTOCOLS,
  WATCH_ROW_HEAD,
} from "../../src/wire/protocol.ts";
import { parseClientMessage } from "../../src/wire/request.ts";
import { schemaNumber } from "../../src/wire/schema-numbers.ts";
import { aborted, ScriptedDriver } from "../server/scripted-driver.ts";
import { CollectedState } from "./collected-state.ts";

const page = readFileSync(new URL("../../PROTOCOL.md", import.meta.url), "utf8");
/** The page as running text, for sentences that are broken over lines. */
const prose = page.replace(/\s+/g, " ");

/** The tables of a section, without their heads; backquotes are taken off. */
function tables(heading: string): string[][][] {
  const begin = page.indexOf(`\n${heading}\n`);
  if (begin < 0) throw new Error(`PROTOCOL.md has no heading ${heading}`);
  const section = page.slice(begin + heading.length + 2).split(/^#{1,4} /m)[0]!;
  const found = section.match(/(?:^\|.*\n)+/gm) ?? [];
  return found.map((table) =>
    table
      .trim()
      .split("\n")
      .slice(2)
      .map((row) =>
        row
          .slice(1, -1)
          .split("|")
          .map((cell) => cell.trim().replaceAll("`", "")),
      ),
  );
}

function table(heading: string, which = 0): string[][] {
  const found = tables(heading)[which];
  if (found === undefined) throw new Error(`${heading} has no table ${which}`);
  return found;
}

/** Two columns of a table as a map. */
function columns(rows: readonly string[][], key: number, value: number): Record<string, string> {
  return Object.fromEntries(rows.map((row) => [row[key]!, row[value]!]));
}

function numbers(texts: Record<string, string>): Record<string, number> {
  return Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, Number(text.replaceAll(",", ""))]));
}

interface Line {
  readonly from: "client" | "server";
  /** What a client says, or the message of the JSON twin. */
  text?: string;
  /** What a server sends in msgpack. */
  bytes?: Uint8Array;
  /** The code of a close. */
  close?: number;
}

/** The blocks of a kind, each a list of lines. */
function transcripts(kind: string): Line[][] {
  const blocks = [...page.matchAll(new RegExp(`^\`\`\`text ${kind}\n(.*?)\n\`\`\`$`, "gms"))];
  return blocks.map(([, block]) => {
    const entries: string[] = [];
    for (const line of block!.split("\n").filter((text) => text !== "")) {
      if (/^(?:[CS]->[CS]| {3}=) /.test(line)) {
        entries.push(line);
      } else {
        // Broken over lines here: in hexadecimal at a space, in JSON where there is none.
        const broken = entries.pop()!;
        entries.push(broken + (/^S->C [0-9a-f]{2} /.test(broken) ? " " : "") + line.trimStart());
      }
    }
    const lines: Line[] = [];
    for (const entry of entries) {
      const content = entry.slice(5);
      const close = /^closes with (\d{4})$/.exec(content);
      if (entry.startsWith("   = ")) lines.at(-1)!.text = content;
      else if (close) lines.push({ from: entry.startsWith("C") ? "client" : "server", close: Number(close[1]) });
      else if (entry.startsWith("C")) lines.push({ from: "client", text: content });
      else if (/^[0-9a-f]{2}( [0-9a-f]{2})*$/.test(content)) {
        lines.push({ from: "server", bytes: Uint8Array.from(content.split(" "), (byte) => Number.parseInt(byte, 16)) });
      } else lines.push({ from: "server", text: content });
    }
    return lines;
  });
}

/** Lets a decoder read what answers a watch; one that is resumed goes on with the state of the watch before. */
function adopt(decoder: MessageDecoder, text: string, before: CollectedState | undefined): CollectedState | undefined {
  const message = parseClientMessage(text);
  if (message.type !== "watch") return before;
  const resumed = message.since !== undefined && before !== undefined;
  const state = resumed ? before : new CollectedState();
  if (resumed) state.reconnect(true);
  decoder.adopt(message.id, state);
  return state;
}

/** A message of msgpack as JSON has it: uuids and integers beyond 2^53 as text. */
function asJson(value: WireValue): unknown {
  if (value instanceof Uint8Array) {
    const hex = Buffer.from(value).toString("hex");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }
  if (typeof value === "bigint") return `${value}`;
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asJson(item)]));
}

function plain(message: ServerMessage, state: CollectedState | undefined): unknown {
  if (message.type === "records") return { ...message, bytes: 0, records: message.records.map(plainRecord) };
  if (message.type === "watch") {
    const events = state!.sink
      .take()
      .map((event) =>
        event.type === "record" ? plainRecord(event.record) : event.type === "gone" ? event.domain.uuid : event,
      );
    return { ...message, bytes: 0, events };
  }
  return message.type === "end" ? { ...message, error: plainError(message.error) } : message;
}

function recordsOf(events: readonly WatchEvent[]): DomainStatsRecord[] {
  return events.flatMap((event) => (event.type === "record" ? [event.record] : []));
}

function plainRecord(record: DomainStatsRecord): unknown {
  const { domain, params, error, ...head } = record;
  const { uuid, name, id, host } = domain;
  return { ...head, uuid, name, id, host, params: [...params.list()], error: plainError(error) };
}

function plainError(error: VirstreamError | undefined): unknown {
  return error && [error.code, error.message, error.retryable, error.libvirt];
}

function encodeValue(value: WireValue): Uint8Array {
  const writer = new MsgpackWriter(64);
  writer.value(value);
  return writer.take();
}

const hex = (message: WireMessage): string =>
  typeof message === "string" ? message : Buffer.from(message).toString("hex");

describe("PROTOCOL.md has the same values as the code in its table of", () => {
  it("subprotocols, in the order of preference", () => {
    expect(table("### Subprotocols").map(([name]) => name)).toEqual([...SUBPROTOCOLS]);
  });

  it("message types", () => {
    const rows = table("## Messages from the server");
    const known = Object.entries(MessageType).map(([name, type]) => [String(type), name.toUpperCase()]);
    expect(rows.map(([type, name]) => [type, name])).toEqual(known);
    for (const [type, name] of known) expect(page).toContain(`\n### ${type} ${name}\n`);
  });

  it("groups", () => {
    const known = GROUPS.map((name, bit) => [`0x${(2 ** bit).toString(16)}`, name]);
    expect(table("#### Groups")).toEqual(known);
  });

  it("flags", () => {
    const known = Object.entries({ ...LIST_FILTERS, ...StatsFlag }).map(([name, bit]) => [
      `0x${bit.toString(16)}`,
      name,
    ]);
    expect(table("#### Flags").map(([bit, name]) => [bit, name])).toEqual(known);
  });

  it("type codes", () => {
    expect(numbers(columns(table("#### Types"), 1, 0))).toEqual(ParamType);
  });

  it("statuses and reasons", () => {
    expect(table("### Status", 1).map(([number, name]) => [number, name])).toEqual(
      RECORD_STATUSES.map((name, number) => [String(number), name]),
    );
    expect(table("### Status", 2).map(([number, name]) => [number, name])).toEqual(
      ["", ...RECORD_REASONS].map((name, number) => [String(number), name]),
    );
  });

  it("items of a row's head", () => {
    expect(table("## Rows").map(([item]) => Number(item))).toEqual(Array.from({ length: ROW_HEAD }, (_, i) => i));
    expect(prose).toContain(`A row is an array: ${ROW_HEAD} items of head`);
  });

  it("items of the heads of a watch's rows", () => {
    const [full, changes] = tables("## Rows of a watch") as [string[][], string[][]];
    expect(full.map(([item]) => Number(item))).toEqual(Array.from({ length: WATCH_ROW_HEAD }, (_, i) => i));
    expect(prose).toContain(`A full row has ${WATCH_ROW_HEAD} items of head`);
    expect(changes.map(([item]) => item)).toEqual([
      ...Array.from({ length: CHANGES_HEAD }, (_, i) => `${i}`),
      `${CHANGES_HEAD}`,
      `${CHANGES_HEAD + 1} …`,
    ]);
    expect(prose).toContain(`numbers, from 0 to ${(LIMITS.domains - 1).toLocaleString("en")}`);
  });

  it("the states of sources, and the reasons of gaps", () => {
    const states = table("### 15 STATUS").find(([field]) => field === "state")![2]!;
    for (const [number, state] of WATCH_STATES.entries()) expect(states).toContain(`${number} ${state}`);
    const reasons = table("### 16 GAP").find(([field]) => field === "reason")![2]!;
    expect(reasons.match(/\d: /g)).toEqual(GAP_REASONS.map((_, i) => `${i + 1}: `));
  });

  it("error codes", () => {
    const known = Object.entries(ERROR_CODES).map(([code, { retryable }]) => [code, retryable ? "yes" : "no"]);
    expect(table("## Errors", 1)).toEqual(known);
  });

  it("limits", () => {
    expect(numbers(columns(table("## Limits"), 0, 1))).toEqual(LIMITS);
  });

  it("times", () => {
    expect(columns(table("## Limits", 1), 0, 1)).toEqual({
      "hello timeout": `${HELLO_TIMEOUT_MS.toLocaleString("en")} ms`,
      beat: `${BEAT_MS.toLocaleString("en")} ms`,
      "progress timeout": `${PROGRESS_TIMEOUT_MS.toLocaleString("en")} ms`,
    });
    expect(prose).toContain(`two and a half times as long, ${(2.5 * BEAT_MS) / 1000} s`);
  });

  it("close codes", () => {
    expect(numbers(columns(table("## Close codes"), 1, 0))).toEqual(CLOSE_CODES);
  });

  it("numbers that stand in sentences", () => {
    expect(prose).toContain(`The usual first credit is ${DEFAULT_CREDIT.toLocaleString("en")}.`);
    expect(prose).toContain(`listens on port ${DEFAULT_PORT} unless`);
    expect(prose).toContain(`of types from ${FIRST_IGNORABLE_TYPE} on`);
    expect(prose).toContain(`more than ${LIMITS.schemas.toLocaleString("en")} schemas, or these have more than`);
    expect(prose).toContain(`more than ${LIMITS.schemaKeys.toLocaleString("en")} keys together`);
  });
});

describe("this package's client", () => {
  it.each(table("## Close codes").map((row) => [row[0]!, row[4]!, row[5]!] as const))(
    "reports a close with %s as %s, retryable: %s, as PROTOCOL.md says",
    async (code, error, retryable) => {
      const socket = { send: () => {}, close: () => {}, protocol: SUBPROTOCOLS[0] } as unknown as Socket;
      const open = remoteDriver(() => socket);
      const opening = open("ws://server.example", {});
      socket.onopen!({} as never);
      socket.onclose!({ code: Number(code), reason: "" });
      const failure = await opening.then(() => undefined, VirstreamError.from);
      expect([failure?.code, failure?.retryable ? "yes" : "no"]).toEqual([error, retryable]);
    },
  );
});

describe("each transcript of PROTOCOL.md", () => {
  const blocks = transcripts("transcript(?: json)?");

  it("is found by this test", () => {
    expect(blocks.length).toBeGreaterThanOrEqual(10);
    const bytes = blocks.flat().filter((line) => line.bytes !== undefined);
    expect(bytes.length).toBeGreaterThanOrEqual(25);
    expect(bytes.filter((line) => line.text !== undefined).length).toBeGreaterThanOrEqual(20);
  });

  it("has messages of the client's that a server understands", () => {
    for (const line of blocks.flat().filter(({ from }) => from === "client")) {
      expect(() => parseClientMessage(line.text!)).not.toThrow();
    }
  });

  it("has the same array in msgpack and in JSON", () => {
    for (const { bytes, text } of blocks.flat()) {
      if (bytes === undefined || text === undefined) continue;
      expect(asJson(new MsgpackReader(bytes).value(LIMITS.depth))).toEqual(JSON.parse(text));
    }
  });

  it("is read alike in msgpack and in JSON, each message in its turn", () => {
    let states: (CollectedState | undefined)[] = [];
    for (const block of blocks) {
      const ofBytes = new MessageDecoder({});
      const ofText = new MessageDecoder({});
      for (const { from, bytes, text } of block) {
        if (from === "client") {
          states = [ofBytes, ofText].map((decoder, i) => adopt(decoder, text!, states[i]));
          continue;
        }
        const read = bytes && plain(ofBytes.decode(bytes), states[0]);
        const twin = text === undefined ? undefined : plain(ofText.decode(text), states[1]);
        if (read !== undefined && twin !== undefined) expect(twin).toEqual(read);
      }
    }
  });

  it("has the very bytes, and the very text, that the server's encoder makes", () => {
    // Schemas are numbered as they occur: the same keys are the same schema in all transcripts.
    const schemas = new SchemaTable();
    const shared = ({ domain, params, ...head }: DomainStatsRecord): DomainStatsRecord => {
      const { keys, types } = params.schema;
      return new DomainStatsRecord({
        ...head,
        domain,
        params: new TypedParams(schemas.schemaOf(keys, types), params.doubles, params.texts, params.bigs),
      });
    };
    let state: CollectedState | undefined;
    /** The records that were told of a channel's domains, by number. */
    let told = new Map<number, DomainStatsRecord>();
    let withSkipped = 0;
    for (const block of blocks) {
      const decoder = new MessageDecoder({});
      const tables = SUBPROTOCOLS.map(() => new HostTable());
      const encoders = SUBPROTOCOLS.map((subprotocol, i) => new MessageEncoder(subprotocol, tables[i]));
      const startedAt = new Map<number, number>();
      /** HOST and SCHEMA messages, which come before the RECORDS that need them. */
      let before: Line[] = [];
      for (const line of block) {
        if (line.from === "client") {
          const adopted = adopt(decoder, line.text!, state);
          if (adopted !== state) told = new Map();
          state = adopted;
        }
        if (line.bytes === undefined || line.text === undefined) continue;
        const message = decoder.decode(line.bytes);
        const events = state?.sink.take() ?? [];
        const array = JSON.parse(line.text);
        if (array[0] === MessageType.sweep) startedAt.set(array[1], array[2]);
        if (array[0] === MessageType.schema || array[0] === MessageType.host) {
          before.push(line);
        } else if (message.type === "records") {
          const lines = [...before, line];
          before = [];
          for (const [i, encoder] of encoders.entries()) {
            const frame = encoder.frame(message.id, startedAt.get(message.id)!);
            for (const record of message.records) frame.add(shared(record));
            const said = lines.map(({ bytes, text }) => hex(i === 0 ? bytes! : text!));
            expect(encoder.records(frame).messages.map(hex)).toEqual(said);
          }
        } else if (array[0] === MessageType.state || array[0] === MessageType.changes) {
          const records = message.type === "watch" ? recordsOf(events).map(shared) : [];
          const rows = array[4] as readonly (readonly unknown[])[];
          const lines = [...before.splice(0), line];
          if (records.length < rows.length) {
            // A row that the snapshot knew has no event to make it from.
            withSkipped++;
            continue;
          }
          for (const [i, encoder] of encoders.entries()) {
            const numbering = { schema: schemaNumber, host: (host: string) => tables[i]!.number(host) };
            const writer = i === 0 ? new MsgpackWriter(64) : new JsonWriter();
            const frame = new ChangesFrame<WireMessage>(writer, numbering, array[0], array[1], array[2]);
            let number = -1;
            for (const [place, row] of rows.entries()) {
              number += 1 + (row[0] as number);
              frame.add(number, records[place]!, typeof row[1] === "string" ? undefined : told.get(number));
              if (i === 1) told.set(number, records[place]!);
            }
            const { hosts } = frame;
            const lacking = encoder.tell({ schemas: [...frame.schemas], hosts } as unknown as ChannelMessage);
            const said = lines.map(({ bytes, text }) => hex(i === 0 ? bytes! : text!));
            expect([...lacking, frame.take()].map(hex)).toEqual(said);
          }
        } else {
          expect(hex(encodeValue(array))).toBe(hex(line.bytes));
          expect(JSON.stringify(array)).toBe(line.text);
        }
      }
      expect(before).toEqual([]);
    }
    expect(withSkipped).toBe(1);
  });

  it("counts the credit as the text beside it does", () => {
    const [, credit] = blocks as [Line[], Line[]];
    const records = credit.filter(({ bytes }) => bytes?.[1] === MessageType.records);
    const granted = credit.flatMap(({ text }) => (text?.includes('"credit","id"') ? [JSON.parse(text).bytes] : []));
    expect(granted).toEqual([records[0]!.bytes!.length]);
    expect(prose).toContain(`the first RECORDS takes ${granted[0]} bytes: the balance is −${granted[0] - 1}`);
  });

  it("joins the pieces to the message that was cut", () => {
    const pieces = blocks.find((block) => block.filter(({ bytes }) => bytes?.[1] === MessageType.piece).length === 2)!;
    const decoder = new MessageDecoder({});
    const messages = pieces.map(({ bytes }) => decoder.decode(bytes!));
    expect(messages.at(-2)).toEqual({ type: "none" });
    const last = messages.at(-1)!;
    expect(last).toMatchObject({ type: "records", id: 1, bytes: 43 });
    const texts = blocks.find((block) => block.every(({ bytes }) => bytes === undefined))!;
    expect(texts.map(({ text }) => JSON.parse(text!)[2]).join("")).toBe('[64,"a \u{1f600}"]');
  });
});

describe("each transcript of PROTOCOL.md that is not acceptable", () => {
  const owned: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of owned.splice(0).reverse()) await close();
  });

  const blocks = transcripts("not acceptable");
  const ofClients = blocks.filter((block) => block.at(-1)!.from === "server");
  const ofServers = blocks.filter((block) => block.at(-1)!.from === "client");

  it("is found by this test", () => {
    expect(ofClients.length).toBeGreaterThanOrEqual(5);
    expect(ofServers.length).toBeGreaterThanOrEqual(9);
    for (const block of blocks) expect(block.at(-1)!.close).toBeTypeOf("number");
  });

  it.each(ofClients.map((block) => [block.at(-1)!.close!, block.at(-2)!.text!, block] as const))(
    "makes a server close with %i after %s",
    async (code, _, block) => {
      const driver = new ScriptedDriver(async function* (scripted, { signal }) {
        yield [scripted.record(0)];
        await aborted(signal);
      });
      const server = await serve(new Connection(driver), { port: 0 });
      owned.push(() => server.close());
      const socket = new WebSocket(server.url, SUBPROTOCOLS[0]);
      owned.push(() => socket.terminate());
      const closed = once(socket, "close") as Promise<[number]>;
      await once(socket, "open");
      for (const { text } of block.slice(0, -1)) socket.send(text!);
      expect((await closed)[0]).toBe(code);
    },
  );

  it.each(ofServers.map((block) => [hex(block.at(-2)!.bytes!), block] as const))(
    "makes a client close with 4400 at its last message, %s",
    (_, block) => {
      const decoder = new MessageDecoder({});
      for (const { from, bytes, text } of block.slice(0, -2)) {
        if (from === "client") adopt(decoder, text!, undefined);
        else decoder.decode(bytes!);
      }
      let code: string | undefined;
      try {
        decoder.decode(block.at(-2)!.bytes!);
      } catch (error) {
        code = VirstreamError.from(error).code;
      }
      expect([code, block.at(-1)!.close]).toEqual(["protocol-error", CLOSE_CODES["bad-message"]]);
    },
  );
});
