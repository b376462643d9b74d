import { TypedParams } from "../../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../../src/model/record.ts";
import type { SyncEvent } from "../../../src/model/watch.ts";
import { ChannelEncoder, type ChannelMessage, syncToWire } from "../../../src/wire/channel-encoder.ts";
import { uuidOf } from "../../sampling/sample.ts";
import { PROFILE, type ScriptedSocket } from "./scripted-socket.ts";

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
    this.#encoder = new ChannelEncoder(number, PROFILE);
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
    this.messages.push(this.#encoder.sync(this.#sync(), true));
    return this.messages.slice(before);
  }

  /** Sends messages of the channel to who watches it. */
  send(socket: ScriptedSocket, messages: readonly ChannelMessage[]): void {
    for (const message of messages) socket.say(socket.end.pass(message));
  }

  /** A sweep, and what it makes goes to who watches. */
  sweepTo(socket: ScriptedSocket, domains?: number): void {
    this.send(socket, this.sweep(domains));
  }

  /** Answers a watch with a snapshot. */
  snapshot(socket: ScriptedSocket, id: number): void {
    const { end } = socket;
    const sync = this.tick > 0 ? { sync: syncToWire(this.#sync()) } : {};
    const begin = { type: "begin", id, channel: this.number, sequence: this.sequence, resumed: false } as const;
    socket.say(end.say({ ...begin, domains: this.#records.length, ...sync, statuses: [], complete: this.tick > 0 }));
    if (this.#records.length > 0) socket.say(end.rows(id, this.#records, [...this.#records.keys()]).messages);
  }

  /** Answers a watch by going on after a sequence. */
  resume(socket: ScriptedSocket, id: number, sequence: number): void {
    socket.say(socket.end.say({ type: "begin", id, channel: this.number, sequence, resumed: true }));
    this.send(
      socket,
      this.messages.filter((message) => message.sequence > sequence),
    );
  }

  #sync(): SyncEvent {
    const domains = this.#records.length;
    const summary = { domains, ok: domains, partial: 0, failed: 0, gone: 0, startedAt: this.tick * 1_000, tookMs: 1 };
    return { type: "sync", tick: this.tick, host: "script", overrun: 0, summary };
  }

  #record(index: number): DomainStatsRecord {
    const uuid = uuidOf(index);
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
