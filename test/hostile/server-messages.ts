import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import type { WatchSink } from "../../src/model/watch.ts";
import { ChannelEncoder } from "../../src/wire/channel-encoder.ts";
import { ChannelState } from "../../src/wire/channel-state.ts";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { LIMITS } from "../../src/wire/protocol.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { sample } from "../sampling/sample.ts";
import { ServerEnd } from "../wire/server-end.ts";
import { SESSIONS } from "../wire/vector-sessions.ts";
import { WatchServer } from "../wire/watch-server.ts";
import type { Decoder, Receiver } from "./decoder.ts";
import { packLoosely } from "./loose-msgpack.ts";

/** The client's decoder of the binary profile, with the states of its watches: every message that a server sends goes through it. */

type Step = (typeof SESSIONS)[number]["steps"][number];

/** A session, with what the client asks before each frame. */
interface Conversation {
  readonly frames: readonly Uint8Array[];
  readonly asked: readonly (readonly { readonly type?: unknown; readonly id?: unknown }[])[];
}

/** Checks what a message becomes: values of their declared types, and no more of them than a message may have. */
class Account implements WatchSink {
  #cells = 0;
  #characters = 0;

  begin(): void {
    this.#cells = 0;
    this.#characters = 0;
  }

  record(record: DomainStatsRecord): void {
    const { params, domain } = record;
    for (const { type, value } of params.list()) if (!isOf(type, value)) throw new Error(`${value} of type ${type}`);
    this.#cells += 6 + params.size;
    this.#characters += domain.name.length;
    if (this.#cells > LIMITS.cells || this.#characters > LIMITS.characters)
      throw new Error("it expands beyond its bound");
  }

  gone(): void {}
  event(): void {}
  flush(): void {}
  end(): void {}
}

function isOf(type: string, value: ParamValue): boolean {
  switch (type) {
    case "int":
      return (Number(value) | 0) === value;
    case "uint":
      return Number(value) >>> 0 === value;
    case "llong":
      return typeof value === "bigint" && BigInt.asIntN(64, value) === value;
    case "ullong":
      return typeof value === "bigint" && BigInt.asUintN(64, value) === value;
    case "double":
      return typeof value === "number";
    default:
      return typeof value === type;
  }
}

class Client implements Receiver {
  readonly #asked: Conversation["asked"];
  readonly #account = new Account();
  readonly #clock = new ServerClock(() => 0);
  readonly #states = new Map<unknown, ChannelState>();
  #decoder: MessageDecoder | undefined;

  constructor(asked: Conversation["asked"]) {
    this.#asked = asked;
  }

  receive(frame: Uint8Array, place: number): void {
    for (const message of this.#asked[place] ?? []) this.#ask(message);
    this.#account.begin();
    const decoded = this.#decoder!.decode(frame);
    if (decoded.type !== "records") return;
    for (const record of decoded.records) this.#account.record(record);
    if (decoded.expanded > 8 * LIMITS.cells + LIMITS.characters) throw new Error("it expands beyond its bound");
  }

  #ask({ type, id }: { readonly type?: unknown; readonly id?: unknown }): void {
    if (type === "hello") {
      for (const state of this.#states.values()) state.reconnect(true);
      this.#decoder = new MessageDecoder(this, this.#clock);
    } else if (type === "watch") {
      const state = this.#states.get(id) ?? new ChannelState(this, this.#account, () => {});
      this.#states.set(id, state);
      ChannelTable.of(this.#decoder!).adopt(id as number, state);
    } else if (type === "cancel") {
      ChannelTable.of(this.#decoder!).release(id as number);
    }
  }
}

function conversationOf(steps: readonly Step[]): Conversation {
  const frames: Uint8Array[] = [];
  const asked: object[][] = [[]];
  for (const step of steps) {
    if ("client" in step) {
      asked.at(-1)!.push(step.client);
    } else {
      frames.push(step.server as Uint8Array);
      asked.push([]);
    }
  }
  return { frames, asked };
}

/** A watch of a small host whose values take every type and bound, with whatever happens to it. */
function eventful(seed: number): Conversation {
  const end = new ServerEnd();
  const server = new WatchServer(9, "e1", end.profile);
  for (let i = 0; i < 6; i++) server.sample(seed + i, 1_700_000_000_000);
  server.endTick(1_700_000_000_000);
  const start = server.snapshot(end, 1, 3).flatMap((make) => make());
  const from = server.sequence;
  for (let i = 0; i < 8; i++) server.sample(31 * seed + i, 1_700_000_001_000 + i);
  if (seed % 2 === 0) server.remove(seed);
  if (seed % 3 === 0) server.status(seed);
  if (seed % 3 === 1) server.gap(seed);
  server.endTick(1_700_000_001_000);
  const frames = [...start, ...server.after(from)!.flatMap((message) => end.pass(message))];
  return { frames, asked: [[{ type: "hello" }, { type: "watch", id: 1 }]] };
}

/** A watch of more rows than a strip has, of which some change: columns of every width, and sparse ones. */
function wide(): Conversation {
  const end = new ServerEnd();
  const types = [
    ParamType.ullong,
    ParamType.int,
    ParamType.double,
    ParamType.boolean,
    ParamType.string,
    ParamType.uint,
  ];
  const schema = new Schema(["a", "b", "c", "d", "e", "f"], Uint8Array.from(types));
  const rows = (tick: number): DomainStatsRecord[] =>
    Array.from({ length: 70 }, (_, i) => {
      const moved = i % 9 === 0 ? tick : 0;
      const cells: ParamValue[] = [
        i * 2 ** ((i % 8) * 6) + moved,
        moved - i,
        i / 3 + moved,
        i % 2 === 0,
        `/images/guest-${i}.qcow2`,
        i,
      ];
      const record = sample({ uuid: i + 1, sampledAt: 1_700_000_000_000 + 1_000 * tick + i });
      return Object.assign(record, { params: TypedParams.of(schema, cells) });
    });
  const [first, second] = [rows(0), rows(1)];
  const numbers = first.map((_, i) => i);
  const begin = {
    type: "begin",
    id: 1,
    channel: 3,
    sequence: 0,
    resumed: false,
    statuses: [],
    complete: true,
  } as const;
  const encoder = new ChannelEncoder(3, end.profile);
  for (const [i, record] of second.entries()) encoder.add(i, record, first[i]);
  const frames = [
    ...end.say({ ...begin, domains: first.length }),
    ...end.rows(1, first, numbers).messages,
    ...end.pass(encoder.changes()!),
  ];
  return { frames, asked: [[{ type: "hello" }, { type: "watch", id: 1 }]] };
}

const CONVERSATIONS: readonly Conversation[] = [
  ...SESSIONS.filter(({ subprotocol }) => subprotocol === "virstream.v1").map(({ steps }) => conversationOf(steps)),
  ...Array.from({ length: 12 }, (_, seed) => eventful(seed)),
  wide(),
];

export const SERVER_MESSAGES: Decoder = {
  name: "a server's messages, virstream.v1",
  sessions: CONVERSATIONS.map(({ frames }) => frames),
  codes: ["protocol-error"],
  open: (session) => new Client(CONVERSATIONS[session]!.asked),
  damage: (mutator, frame, other) => {
    if (mutator.dice.below(3) === 0) return mutator.bytes(frame, other);
    return packLoosely(mutator.value(unpack(frame), unpack(other)), mutator.dice);
  },
};
