import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { remoteDriver } from "../../src/drivers/remote/driver.ts";
import { openNodeWatch } from "../../src/drivers/remote/node-driver.ts";
import type { Socket } from "../../src/drivers/remote/socket.ts";
import { ERROR_CODES, VirstreamError } from "../../src/model/error.ts";
import { GROUPS } from "../../src/model/group.ts";
import { LIST_FILTERS, StatsFlag } from "../../src/model/query.ts";
import { plainRecord, RECORD_REASONS, RECORD_STATUSES } from "../../src/model/record.ts";
import { ParamType } from "../../src/model/schema.ts";
import { GAP_REASONS, WATCH_STATES } from "../../src/model/watch.ts";
import { DEFAULT_PORT } from "../../src/server/listening/address.ts";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import {
  BEAT_MS,
  CLOSE_CODES,
  DEFAULT_CREDIT,
  HEAD_COLUMNS,
  HELLO_TIMEOUT_MS,
  HeadColumn,
  LIMITS,
  MAX_BEAT_MS,
  PROGRESS_TIMEOUT_MS,
  SUBPROTOCOLS,
} from "../../src/wire/protocol.ts";
import { type ClientMessage, parseClientMessage, requestText } from "../../src/wire/request.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { JsonState } from "../server/json-client.ts";
import { CollectedState } from "./collected-state.ts";
import { REFUSED } from "./refused-sessions.ts";
import { SESSIONS } from "./vector-sessions.ts";

const page = readFileSync(new URL("../../PROTOCOL.md", import.meta.url), "utf8");
/** The page as running text, for sentences that are broken over lines. */
const prose = page.replace(/\s+/g, " ");

/** The rows of a section's table, without its head; backquotes are taken off. */
function table(heading: string, which = 0): string[][] {
  const begin = page.indexOf(`\n${heading}\n`);
  if (begin < 0) throw new Error(`PROTOCOL.md has no heading ${heading}`);
  const section = page.slice(begin + heading.length + 2).split(/^#{1,4} /m)[0]!;
  const found = [...section.matchAll(/(?:^\|.*\n)+/gm)][which];
  if (found === undefined) throw new Error(`${heading} has no table ${which}`);
  const rows = found[0].trim().split("\n").slice(2);
  return rows.map((row) =>
    row
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
}

const numberOf = (text: string): number => Number(text.replaceAll(",", ""));
const english = (number: number): string => number.toLocaleString("en");

/** The names that stand in backquotes in a part of the running text. */
function named(from: string, to: string): string[] {
  const start = prose.indexOf(from);
  const end = prose.indexOf(to, start);
  if (start < 0 || end < 0) throw new Error(`PROTOCOL.md has no text from ${from} to ${to}`);
  return [...prose.slice(start, end).matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
}

describe("PROTOCOL.md has the same values as the code for", () => {
  it("its length: a client author reads it in one sitting", () => {
    expect(page.length).toBeLessThan(35_000);
  });

  it("subprotocols", () => {
    const profiles = page
      .match(/^\| (?:JSON|binary) \|.*$/gm)!
      .map((row) => row.split("|")[2]!.trim().replaceAll("`", ""));
    expect(profiles.sort()).toEqual([...SUBPROTOCOLS].sort());
  });

  it("the messages of both ends and their members, of which a server has eleven messages at most", () => {
    const ofServer = membersOf(
      SESSIONS.flatMap(({ steps }) => steps.flatMap((step) => ("server" in step ? [readOf(step.server)] : []))),
    );
    expect(documented("## Messages from the server")).toEqual(ofServer);
    expect(Object.keys(ofServer).length).toBeLessThanOrEqual(11);
    const query = { groups: 1, flags: 1, deadlineMs: 1, domains: [{ name: "web" }] };
    const cadence = { intervalMs: 10, mode: "on-change", heartbeatMs: 10 } as const;
    // Not with domains, nor at in a watch, as in a request that is valid; here only the names of the members matter.
    const patterns = { names: ["web-*"], hosts: ["hv*"], at: 1 };
    const requests: ClientMessage[] = [
      { type: "hello", client: "", token: "" },
      { type: "get", id: 1, query: { ...query, ...patterns }, credit: 1 },
      {
        type: "watch",
        id: 1,
        query: { ...query, ...patterns },
        cadence,
        credit: 1,
        since: { epoch: "", channel: 1, sequence: 1 },
      },
      { type: "credit", id: 1, bytes: 1 },
      { type: "cancel", id: 1 },
    ];
    const ofClient = documented("## Messages from the client");
    expect(ofClient).toEqual(membersOf(requests.map((request) => JSON.parse(requestText(request)))));
  });

  it("groups, flags and types", () => {
    for (const [bit, name] of GROUPS.entries()) expect(prose).toContain(`0x${(2 ** bit).toString(16)} \`${name}\``);
    const flags = prose.slice(prose.indexOf("**Flags.**"), prose.indexOf("A domain that is selected"));
    for (const [name, bit] of Object.entries({ ...LIST_FILTERS, ...StatsFlag })) {
      expect(flags.replace("shut off", "shutoff")).toContain(`0x${bit.toString(16)} ${name}`);
    }
    for (const [name, code] of Object.entries(ParamType)) expect(prose).toContain(`${code} ${name}`);
  });

  it("statuses, reasons, states and gaps", () => {
    const members = table("## Records in JSON");
    const of = (member: string) => members.find(([name]) => name === member)![1]!;
    for (const status of RECORD_STATUSES) expect(of("status")).toContain(status);
    for (const reason of RECORD_REASONS) expect(of("reason")).toContain(reason);
    const rows = table("## Messages from the server");
    const states = rows.find(([, member]) => member === "state")![3]!;
    for (const state of WATCH_STATES) expect(states).toContain(state);
    const reasons = rows.find(([, member]) => member === "reason")![3]!;
    for (const reason of GAP_REASONS) expect(reasons).toContain(reason);
  });

  it("the columns before those of the keys", () => {
    const names = table("## Records in columns").map(([column]) => column);
    const known = Object.entries(HeadColumn).map(([name, column]) => `${column} ${name}`);
    expect(names).toEqual([...known, `${HEAD_COLUMNS} + k`]);
  });

  it("error codes", () => {
    const codes = Object.entries(ERROR_CODES);
    const ofKind = (retryable: boolean) =>
      codes.flatMap(([code, known]) => (known.retryable === retryable ? [code] : []));
    expect(named("Retryable: ", "Not retryable: ").sort()).toEqual(ofKind(true).sort());
    expect(named("Not retryable: ", "A record that does not fit").sort()).toEqual(ofKind(false).sort());
  });

  it("limits, times and other numbers", () => {
    expect(Object.fromEntries(table("## Limits").map(([name, value]) => [name, numberOf(value!)]))).toEqual(LIMITS);
    expect(DEFAULT_CREDIT).toBe(1_048_576);
    expect(prose).toContain("The usual first credit is 1 MiB");
    expect(prose).toContain(`The usual port is ${DEFAULT_PORT}`);
    expect(prose).toContain(`It MUST come within ${HELLO_TIMEOUT_MS / 1000} s`);
    expect(prose).toContain(`(${BEAT_MS / 1000} s unless configured otherwise`);
    expect(prose).toContain(MAX_BEAT_MS === 3_600_000 ? "above 0 and at most an hour" : "another limit");
    expect(prose).toContain(`takes nothing for ${PROGRESS_TIMEOUT_MS / 1000} s ends with`);
    expect(prose).toContain(`| 1 to ${english(LIMITS.rows)} | how many`);
  });
});

describe("this package's client", () => {
  it("knows the close codes of PROTOCOL.md, and no others", () => {
    const documentedCodes = table("## Close codes").map(([code]) => Number(code));
    expect(documentedCodes).toEqual(Object.values(CLOSE_CODES));
  });

  it.each(table("## Close codes").map((row) => [row[0]!, row[2]!] as const))(
    "reports a close with %s as %s, as PROTOCOL.md says",
    async (code, error) => {
      const socket = { send: () => {}, close: () => {}, protocol: SUBPROTOCOLS[0] } as unknown as Socket;
      const opening = remoteDriver({ openSocket: () => socket, openWatch: openNodeWatch })("ws://server.example", {});
      socket.onopen!({} as never);
      socket.onclose!({ code: Number(code), reason: "" });
      const failure = await opening.then(() => undefined, VirstreamError.from);
      expect(failure?.code).toBe(error);
    },
  );
});

/** A message as JSON has it: bytes in hexadecimal, integers beyond 2^53 as text. */
function asJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value === "bigint") return `${value}`;
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asJson(item)]));
}

type Steps = (typeof SESSIONS)[number]["steps"];
type Members = Record<string, unknown> & { readonly type: string };

function readOf(message: Uint8Array | string): Members {
  return typeof message === "string" ? JSON.parse(message) : (unpack(message) as Members);
}

/** The members that messages of each type have, without the type itself. */
function membersOf(messages: readonly Members[]): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  for (const { type, ...rest } of messages)
    all[type] = [...new Set([...(all[type] ?? []), ...Object.keys(rest)])].sort();
  return all;
}

/** The members of each type of message in the document's table. */
function documented(heading: string): Record<string, string[]> {
  const all: Record<string, string[]> = {};
  let type = "";
  for (const [first, members] of table(heading)) {
    if (first !== "") type = first!;
    all[type] ??= [];
    const names = members === "all of get" ? all["get"]! : (members!.match(/[a-z]\w*/gi) ?? []);
    all[type]!.push(...names.filter((name) => name !== "or" && name !== "and"));
    all[type]!.sort();
  }
  return all;
}

/** The records that a client in the binary profile knows after each tick of a watch, and at its end. */
function statesOf(steps: Steps): unknown[][] {
  const state = new CollectedState();
  const known: unknown[][] = [];
  meaningOf(steps, state, ({ type }) => {
    if (type === "sync" || type === "end")
      known.push(JSON.parse(JSON.stringify([...state.records()].map(plainRecord))));
  });
  return known;
}

/** What the steps of a session come to for a client in the binary profile, step by step. */
function meaningOf(
  steps: Steps,
  state = new CollectedState(),
  after: (message: Members) => void = () => {},
): unknown[][] {
  const clock = new ServerClock(() => 86_400_000);
  let decoder = new MessageDecoder({}, clock);
  let connections = 0;
  return steps.map((step) => {
    if ("client" in step) {
      const message = parseClientMessage(JSON.stringify(step.client));
      if (message.type === "hello") {
        decoder = new MessageDecoder({}, clock);
        if (connections++ > 0) state.reconnect(true);
      }
      if (message.type === "watch") ChannelTable.of(decoder).adopt(message.id, state);
      return [];
    }
    const decoded = decoder.decode(step.server as Uint8Array);
    after(readOf(step.server));
    if (decoded.type === "records") return decoded.records.map((record) => ({ record: plainRecord(record) }));
    return state.sink.take().map((event) => {
      if (event.type === "record") return { record: plainRecord(event.record) };
      if (event.type === "gone") return { gone: event.domain.name };
      if (event.type === "sync") return { tick: event.tick };
      if (event.type === "gap") return { gap: event.skipped ?? null, reason: event.reason };
      return { state: event.state, host: event.host };
    });
  });
}

/** The vectors as docs/protocol-vectors.json has them. */
function vectors(): unknown {
  const sessions = SESSIONS.map(({ name, subprotocol, steps }) => {
    const meaning = subprotocol === "virstream.v1" ? meaningOf(steps) : undefined;
    return { name, subprotocol, steps: steps.map((step, i) => stepOf(step, meaning?.[i])) };
  });
  const refused = REFUSED.map(({ why, steps }) => {
    return { why, steps: [...steps.slice(0, -1).map((step) => stepOf(step)), lastOf(steps)] };
  });
  return { sessions, refused };
}

/** A step, and what it means if it means anything. */
function stepOf(step: Steps[number], means: readonly unknown[] = []): unknown {
  if ("client" in step) return step;
  if (typeof step.server === "string") return { server: JSON.parse(step.server) };
  return { hex: hexOf(step.server), server: asJson(unpack(step.server)), ...(means.length > 0 && { means }) };
}

/** The refused message of a session: bytes that may not be readable, or text. */
function lastOf(steps: Steps): unknown {
  const { server } = steps.at(-1) as { readonly server: Uint8Array | string };
  return typeof server === "string" ? { server: JSON.parse(server) } : { hex: hexOf(server) };
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("the test vectors", () => {
  const file = new URL("../../docs/protocol-vectors.json", import.meta.url);
  const made = `${JSON.stringify(vectors(), undefined, 1)}\n`;
  // How the file is made again after a change of the protocol.
  if (process.env["VIRSTREAM_WRITE_VECTORS"] !== undefined) writeFileSync(file, made);

  it("are the very bytes and texts of this package's server, and what its client makes of them", () => {
    expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(JSON.parse(made));
  });

  it("refuse in each session only its last message", () => {
    for (const { why, steps } of REFUSED) expect(() => meaningOf(steps.slice(0, -1)), why).not.toThrow();
  });

  it("say the same in both profiles", () => {
    const ofProfile = (subprotocol: string) =>
      SESSIONS.filter((session) => session.subprotocol === subprotocol && session.name.startsWith("a sweep"));
    const [binary] = ofProfile("virstream.v1").map(({ steps }) => meaningOf(steps).flat());
    const [json] = ofProfile("virstream.v1.json").map(({ steps }) =>
      steps.flatMap((step) => {
        const message = "server" in step ? JSON.parse(step.server as string) : {};
        return message.type === "record" ? [{ record: message.record }] : [];
      }),
    );
    const byIndex = (records: unknown[]) => records.map((each) => JSON.stringify(each)).sort();
    expect(byIndex(binary!)).toEqual(byIndex(json!));
    // After each tick of a watch, and at its end, a client of either profile knows the same domains.
    const stepsOf = (name: string) => SESSIONS.find((session) => session.name === name)!.steps;
    const state = new JsonState();
    const known: unknown[][] = [];
    const note = () => known.push([...state.domains.values()]);
    for (const step of stepsOf("a watch, virstream.v1.json")) {
      if (!("server" in step)) continue;
      const message = readOf(step.server);
      state.receive(message);
      if (message.type === "sync" || message.type === "end") note();
    }
    expect(known).toEqual(statesOf(stepsOf("a watch, virstream.v1")));
    const [refusal, other] = ["virstream.v1", "virstream.v1.json"].map((subprotocol) =>
      stepsOf(`a query that is refused, ${subprotocol}`).map((step) => ("server" in step ? readOf(step.server) : step)),
    );
    expect(refusal).toEqual(other);
  });

  it("have at each step what PROTOCOL.md's sections say of a watch: differences, gone, clock steps, gaps, resumption", () => {
    const means = (name: string) => {
      const { steps } = SESSIONS.find((session) => session.name === name)!;
      return meaningOf(steps)
        .flat()
        .map((each) => {
          const { record, ...rest } = each as {
            record?: { domain: { name: string }; params: Record<string, unknown> };
          };
          return record === undefined ? rest : `${record.domain.name} ${record.params["cpu.time"] ?? "-"}`;
        });
    };
    expect(means("a watch, virstream.v1")).toEqual([
      ...["web-1 1000000000", "web-2 2000000000", { tick: 1 }],
      ...["db 7", "web-1 1250000000", "web-2 2000000000", { tick: 2 }],
      ...[{ gone: "web-2" }, "db -", "web-1 1500000000", { tick: 3 }],
      ...[
        { state: "reconnecting", host: "hv1" },
        { state: "connected", host: "hv1" },
      ],
      ...[
        { gap: 4, reason: "source" },
        { gap: 5, reason: "slow-consumer" },
      ],
      ...["web-1 3000000000", "web-2 1", { gone: "db" }, { tick: 9 }],
    ]);
    expect(means("a watch that is resumed on a new connection")).toEqual([
      ...["web-1 5", "web-2 6", { tick: 1 }],
      ...["web-1 300", "web-2 6", { tick: 2 }],
    ]);
  });
});
