import { readFileSync } from "node:fs";
import { Duplex } from "node:stream";
import { readBalloon } from "../../src/doctor/guests.ts";
import { PROCEDURES } from "../../src/drivers/libvirt/rpc/procedures.ts";
import { LIFECYCLE_EVENT, readLifecycleEvent } from "../../src/drivers/libvirt/rpc/remote-domain.ts";
import { RpcClient } from "../../src/drivers/libvirt/rpc/rpc-client.ts";
import { StatsReader } from "../../src/drivers/libvirt/rpc/stats-reply.ts";
import type { Dice } from "../lab/dice.ts";
import type { Decoder, Receiver } from "./decoder.ts";
import type { Mutator } from "./mutator.ts";

/**
 * The client of libvirt's RPC: the frames that a libvirtd 9.0 sent, from the opening of a connection to its close. They are in
 * libvirt-replies.json, each with the procedure that it answers; events have none.
 */

interface Reply {
  readonly call: keyof typeof PROCEDURES | null;
  readonly hex: string;
}

const REPLIES: readonly Reply[] = JSON.parse(readFileSync(new URL("libvirt-replies.json", import.meta.url), "utf8"));

const DOMAIN = { name: "rich", uuid: "d811f41a-49f3-4651-8c9f-cd45fdd8103e", id: 1 };
const ARGUMENTS: Partial<Record<keyof typeof PROCEDURES, unknown>> = {
  open: "qemu:///system",
  lookupByName: DOMAIN.name,
  lookupByUuid: DOMAIN.uuid,
  controlInfo: DOMAIN,
  state: DOMAIN,
  xml: DOMAIN,
  stats: { uuids: [DOMAIN.uuid], groups: 0, flags: 0 },
};

/** The offset of the serial in a frame, and of the length, which counts itself. */
const SERIAL = 20;
const HEADER = 28;

/** Several sessions, so that few calls are made for each damaged frame. */
const SESSIONS: readonly (readonly Reply[])[] = [
  REPLIES.slice(0, 8),
  REPLIES.slice(8, 16),
  REPLIES.filter(({ call }) => call === null || call === "lookupByName" || call === "xml" || call === "close"),
  REPLIES.filter(({ call }) => call === null || call === "stats" || call === "state" || call === "controlInfo"),
];

/** One for all sessions, as a driver has it for all connections. */
const STATS = new StatsReader();

class Client implements Receiver {
  readonly #transport = new Duplex({ read() {}, write: (_bytes, _encoding, done) => done() });
  readonly #client = new RpcClient(this.#transport, STATS);
  readonly #dice: Dice;

  constructor(replies: readonly Reply[], dice: Dice) {
    this.#dice = dice;
    this.#client.onEvent = (procedure, payload) => {
      if (procedure === LIFECYCLE_EVENT) readLifecycleEvent(payload);
    };
    for (const { call } of replies) {
      if (call === null) continue;
      const answer = this.#client.call<unknown, unknown>(PROCEDURES[call] as never, ARGUMENTS[call] ?? 0);
      answer.then(
        (result) => call === "xml" && readBalloon(result as string),
        () => {},
      );
    }
  }

  receive(frame: Uint8Array): void {
    const bytes = Buffer.from(frame);
    for (let at = 0; at < bytes.length; ) {
      const size = this.#dice.below(3) > 0 ? bytes.length : 1 + this.#dice.below(bytes.length);
      this.#transport.emit("data", bytes.subarray(at, at + size));
      at += size;
    }
    if (this.#client.ended !== undefined) throw this.#client.ended;
  }

  async close(): Promise<void> {
    this.#transport.destroy();
  }
}

function damage(mutator: Mutator, frame: Uint8Array, other: Uint8Array): Uint8Array {
  const { dice } = mutator;
  const damaged = mutator.bytes(frame, other);
  // A wrong length only makes the client wait, or refuse the next frame: mostly the length is made right again.
  if (damaged.length >= HEADER && dice.below(4) > 0) {
    Buffer.from(damaged.buffer).writeUInt32BE(damaged.length, 0);
    // And damage to the header says little about what comes after it.
    if (dice.below(2) === 0) damaged.set(frame.subarray(4, HEADER), 4);
  }
  return damaged;
}

export const DAEMON_REPLIES: Decoder = {
  name: "a libvirt daemon's messages",
  sessions: SESSIONS.map((replies) => {
    let serial = 0;
    return replies.map(({ call, hex }) => {
      const frame = Buffer.from(hex, "hex");
      if (call !== null) frame.writeUInt32BE(++serial, SERIAL);
      return Uint8Array.from(frame);
    });
  }),
  codes: ["protocol-error"],
  open: (session, dice) => new Client(SESSIONS[session]!, dice),
  damage,
};
