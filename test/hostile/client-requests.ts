import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import type { WebSocket } from "ws";
import { Connection } from "../../src/client/connection.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { Admission, AdmittedClient } from "../../src/server/access/admission.ts";
import { UNRESTRICTED } from "../../src/server/access/principal.ts";
import { Views } from "../../src/server/access/views.ts";
import { ClientAddresses } from "../../src/server/bounds/client-address.ts";
import { EventLog } from "../../src/server/bounds/event-log.ts";
import { sharedBounds } from "../../src/server/bounds/shared-bounds.ts";
import { ClientSession, type SessionContext } from "../../src/server/client-session.ts";
import { DEFAULT_SERVER_LIMITS } from "../../src/server/limits.ts";
import { CLOSE_CODES, type Subprotocol } from "../../src/wire/protocol.ts";
import { parseClientMessage } from "../../src/wire/request.ts";
import type { Dice } from "../lab/dice.ts";
import { uuidOf } from "../sampling/sample.ts";
import { ScriptedDriver } from "../server/scripted-driver.ts";
import type { Decoder, Receiver } from "./decoder.ts";
import type { Mutator } from "./mutator.ts";

/** What a server reads of its clients: the parser of requests alone, and a session with its sweeps and watches, in both profiles. */

const HELLO = { type: "hello", client: "example 1.0", token: "secret" };
const GET = {
  ...{ type: "get", id: 1, credit: 1_048_576, groups: ["state", "cpu-total"], flags: 0x20000001, deadlineMs: 2_000 },
  domains: [{ uuid: uuidOf(1) }, { name: "web-1" }],
};
const SINCE = { epoch: "e1", channel: 1, sequence: 7 };
const WATCH = {
  ...{ type: "watch", id: 2, credit: 65_536, groups: 0x7f, intervalMs: 1_000, mode: "on-change", heartbeatMs: 30_000 },
  since: SINCE,
};

const SPELLED = uuidOf(1).toUpperCase();

const SESSIONS: readonly (readonly object[])[] = [
  [HELLO, GET, { type: "credit", id: 1, bytes: 4_096 }, { type: "cancel", id: 1 }, { type: "get", id: 3 }],
  [
    HELLO,
    WATCH,
    { type: "credit", id: 2, bytes: 4_096 },
    { type: "watch", id: 3, intervalMs: 3_600_000 },
    { type: "cancel", id: 2 },
  ],
  [
    { type: "hello" },
    { type: "get", id: 1, groups: 0 },
    WATCH,
    { ...GET, id: 3, domains: [{ uuid: SPELLED, name: SPELLED }] },
    { type: "cancel", id: 7 },
  ],
];

const FRAMES = SESSIONS.map((messages) =>
  messages.map((message) => new Uint8Array(Buffer.from(JSON.stringify(message)))),
);

/** JSON of any value: large integers in full, bytes as a list. */
function textOf(value: unknown): string {
  const text = JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === "bigint") return Number(each);
    return each instanceof Uint8Array ? [...each] : each;
  });
  return text ?? "";
}

function damage(mutator: Mutator, frame: Uint8Array, other: Uint8Array): Uint8Array {
  if (mutator.dice.below(3) === 0) return mutator.bytes(frame, other);
  const parse = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString());
  return new Uint8Array(Buffer.from(textOf(mutator.value(parse(frame), parse(other)))));
}

const CODES = ["protocol-error"];

export const CLIENT_REQUESTS: Decoder = {
  name: "a client's requests",
  sessions: FRAMES,
  codes: CODES,
  open: (): Receiver => ({ receive: (frame) => void parseClientMessage(Buffer.from(frame).toString()) }),
  damage,
};

/** A WebSocket of which both ends are in this process: `ws` would make a connection for each session. */
class OwnSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  readonly bufferedAmount = 0;
  closedBy: number | undefined;

  send(_message: unknown, sent: () => void): void {
    queueMicrotask(sent);
  }

  close(code: number): void {
    this.closedBy ??= code;
    this.readyState = 2;
  }

  ping(): void {}
  pause(): void {}
  resume(): void {}

  terminate(): void {
    this.close(1006);
  }
}

const driver = new ScriptedDriver(async function* (self) {
  yield [self.record(1), self.record(2)];
});
const limits = { ...DEFAULT_SERVER_LIMITS, sweepsPerSecond: 1_000_000_000 };
const bounds = sharedBounds(limits);
const views = new Views(new Connection(driver), () => 1, bounds.memory);
const identity = {
  name: "example",
  role: "admin" as const,
  restriction: UNRESTRICTED,
  expiresAt: Number.POSITIVE_INFINITY,
};
const context: SessionContext = {
  admission: new Admission(
    () => identity,
    views,
    limits.helloTimeoutMs,
    () => limits.waiting,
  ),
  traffic: { messages: 0, bytes: 0 },
  welcome: { server: "virstream", host: "hv1", hypervisor: "qemu", minIntervalMs: 1_000 },
  limits,
  mark: () => limits.bufferedBytes,
  ...bounds,
  log: new EventLog(undefined),
  addresses: new ClientAddresses(),
};

/** The code of the error that a client sees for the close code of its server. */
const CLOSED: Partial<Record<number, "protocol-error">> = {
  [CLOSE_CODES["bad-message"]]: "protocol-error",
  [CLOSE_CODES["duplicate-id"]]: "protocol-error",
};

class Session implements Receiver {
  readonly #socket = new OwnSocket();
  readonly #session: ClientSession;
  readonly #dice: Dice;

  constructor(subprotocol: Subprotocol, dice: Dice) {
    this.#dice = dice;
    const socket = this.#socket as unknown as WebSocket;
    // Admitted by its upgrade request, as with a token in its header: then the hello is answered at once.
    const client = new AdmittedClient(identity, views.whole, () => {});
    this.#session = new ClientSession(
      socket,
      subprotocol,
      { socket: {} } as IncomingMessage,
      client,
      context,
      () => undefined,
    );
  }

  receive(frame: Uint8Array): void {
    this.#socket.emit("message", Buffer.from(frame), false);
    const { closedBy } = this.#socket;
    if (closedBy !== undefined) throw new VirstreamError(CLOSED[closedBy] ?? "internal", `closed by ${closedBy}`);
  }

  async close(): Promise<void> {
    // The work that requests began has a turn, and then the client leaves for good.
    if (this.#dice.below(4) === 0) await new Promise((resolve) => setImmediate(resolve));
    this.#socket.readyState = 3;
    this.#socket.emit("close", 1000);
    await this.#session.ended();
    driver.queries.length = 0;
    const { channels, sampling } = views.whole;
    if (channels.size + sampling.snapshot().samplers + driver.running > 0) {
      throw new Error(
        `${channels.size} channels, ${sampling.snapshot().samplers} samplers, ${driver.running} sweeps are left`,
      );
    }
  }
}

export const SERVER_SESSIONS: readonly Decoder[] = (["virstream.v1", "virstream.v1.json"] as const).map(
  (subprotocol) => ({
    name: `a server's session, ${subprotocol}`,
    sessions: FRAMES,
    codes: CODES,
    open: (_, dice) => new Session(subprotocol, dice),
    damage,
  }),
);
