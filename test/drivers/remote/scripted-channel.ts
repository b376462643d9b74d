import { TypedParams } from "../../../src/model/params.ts";
import { Domain, DomainStatsRecord, type SweepSummary } from "../../../src/model/record.ts";
import { ChannelEncoder, type ChannelMessage } from "../../../src/wire/channel-encoder.ts";
import { SUBPROTOCOLS } from "../../../src/wire/protocol.ts";
import { HOSTS, type ScriptedSocket } from "./scripted-socket.ts";

const OWNER = {};

/** A channel of a server's, whose ticks happen when a test says so, and which keeps every message it ever made. */
export class ScriptedChannel {
  readonly number: number;
  readonly messages: ChannelMessage[] = [];
  tick = 0;
  readonly #encoder: ChannelEncoder;
  #records: DomainStatsRecord[] = [];

  constructor(number = 5) {
    this.number = number;
    this.#encoder = new ChannelEncoder(number, SUBPROTOCOLS[0], HOSTS);
  }

  /** The sequence of the last message. */
  get sequence(): number {
    return this.#encoder.sequence;
  }

  /** A sweep of so many domains, each of which has the tick's number for its cpu.time. */
  sweep(domains = 1): ChannelMessage[] {
    this.tick++;
    const before = this.messages.length;
    const records = Array.from({ length: domains }, (_, i) => this.#record(i));
    for (const [number, record] of records.entries()) this.#encoder.add(number, record, this.#records[number]);
    this.#records = records;
    const changes = this.#encoder.changes();
    if (changes !== undefined) this.messages.push(changes);
    this.messages.push(this.#encoder.sync(this.tick, this.#sync()));
    return this.messages.slice(before);
  }

  /** Sends messages of the channel to who watches it. */
  send(socket: ScriptedSocket, messages: readonly ChannelMessage[]): void {
    for (const message of messages) socket.say([...socket.encoder.tell(message), ...message.messages]);
  }

  /** A sweep, and what it makes goes to who watches. */
  sweepTo(socket: ScriptedSocket, domains?: number): void {
    this.send(socket, this.sweep(domains));
  }

  /** Answers a watch with a snapshot. */
  snapshot(socket: ScriptedSocket, id: number): void {
    const { encoder } = socket;
    socket.say(encoder.position(id, this.number, this.sequence, this.tick, false));
    const frame = encoder.stateFrame(id, this.sequence);
    for (const [number, record] of this.#records.entries()) frame.add(number, record, undefined);
    if (frame.rows > 0) socket.say(encoder.state(frame).messages);
    const { tick, sequence: through } = this;
    const sync = tick === 0 ? { host: "", overrun: 0, summary: undefined } : this.#sync();
    socket.say(encoder.current(id, { through, tick, ...sync, statuses: [], complete: tick > 0 }));
  }

  /** Answers a watch by going on after a sequence. */
  resume(socket: ScriptedSocket, id: number, sequence: number): void {
    socket.say(socket.encoder.position(id, this.number, sequence, this.tick, true));
    this.send(
      socket,
      this.messages.filter((message) => message.sequence > sequence),
    );
  }

  #sync(): { host: string; overrun: number; summary: SweepSummary } {
    const domains = this.#records.length;
    const summary = { domains, ok: domains, partial: 0, failed: 0, gone: 0, startedAt: this.tick * 1_000, tookMs: 1 };
    return { host: "script", overrun: 0, summary };
  }

  #record(index: number): DomainStatsRecord {
    const uuid = `00000000-0000-4000-8000-${index.toString(16).padStart(12, "0")}`;
    return new DomainStatsRecord({
      domain: new Domain(uuid, `domain-${index}`, index + 1, "script", OWNER),
      params: TypedParams.from([["cpu.time", "ullong", BigInt(this.tick)]]),
      status: "ok",
      index,
      sampledAt: this.tick * 1_000,
      tookMs: 0.25,
    });
  }
}
