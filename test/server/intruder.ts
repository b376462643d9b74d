import { once } from "node:events";
import { WebSocket } from "ws";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { SUBPROTOCOLS, type Subprotocol } from "../../src/wire/protocol.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { owned } from "../owned.ts";
import { until } from "../until.ts";
import { CollectedState } from "../wire/collected-state.ts";

/** A message of the server, without the records in it. */
export type Heard = { readonly type: string; readonly id?: number; readonly channel?: number } & Record<
  string,
  unknown
>;

/** What a record shows. */
export interface Seen {
  readonly uuid: string;
  readonly name: string;
  readonly host: string;
  readonly status: string;
  readonly index: number;
  readonly keys: readonly string[];
}

/** How a client shows who it is. */
export interface Shown {
  /** In the request. */
  readonly header?: string;
  /** In the hello. */
  readonly token?: string;
}

/** A client of either profile that sends what no honest client does, and keeps all that it gets for it. */
export class Intruder {
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  readonly heard: Heard[] = [];
  readonly seen: Seen[] = [];
  /** All bytes that it got, as they came. */
  readonly raw: Buffer[] = [];
  readonly #isBinary: boolean;
  readonly #decoder = new MessageDecoder({}, new ServerClock(() => performance.now()));
  readonly #states: CollectedState[] = [];
  #id = 0;

  /** Connects, and says hello. Resolves when the server has answered it, also with the end. */
  static async open(url: string, subprotocol: Subprotocol, { header, token }: Shown): Promise<Intruder> {
    const headers = header === undefined ? {} : { authorization: `Bearer ${header}` };
    const intruder = new Intruder(new WebSocket(url, subprotocol, { headers }), subprotocol);
    await Promise.race([once(intruder.socket, "open"), intruder.closed]);
    if (intruder.socket.readyState === WebSocket.OPEN) {
      intruder.send({ type: "hello", ...(token !== undefined && { token }) });
      await Promise.race([once(intruder.socket, "message"), intruder.closed]);
    }
    return intruder;
  }

  private constructor(socket: WebSocket, subprotocol: Subprotocol) {
    this.socket = socket;
    this.#isBinary = subprotocol === SUBPROTOCOLS[0];
    owned.push(() => socket.terminate());
    // A refused request is an error with its HTTP status in the message.
    let refused = 0;
    socket.on("error", ({ message }) => {
      refused = Number(/\d{3}/.exec(message)?.[0]);
    });
    this.closed = new Promise((resolve) => socket.on("close", (code) => resolve(refused || code)));
    socket.on("message", (data: Buffer) => this.#receive(data));
  }

  get epoch(): string {
    return this.#first("welcome")?.["epoch"] as string;
  }

  /** The names of the domains of which it has values. */
  get names(): string[] {
    return [...new Set(this.seen.flatMap(({ name, status }) => (status === "gone" ? [] : [name])))].sort();
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  /** Asks for a sweep. Resolves with its end. */
  async get(members: object = {}): Promise<Heard> {
    const id = ++this.#id;
    this.send({ type: "get", id, ...members });
    return this.end(id);
  }

  /** Begins a watch; returns its id. */
  watch(members: object = {}): number {
    const id = ++this.#id;
    if (this.#isBinary) {
      const state = new CollectedState();
      this.#states.push(state);
      ChannelTable.of(this.#decoder).adopt(id, state);
    }
    this.send({ type: "watch", id, intervalMs: 10, ...members });
    return id;
  }

  /** Resolves when a watch has had so many ticks, or has ended. */
  async ticks(id: number, count = 1): Promise<void> {
    await until(() => this.#ended(id) !== undefined || this.#isClosed || this.#synced(id) >= count);
  }

  /** Resolves when it has had so many further ticks, or has ended. */
  moreTicks(id: number, count = 2): Promise<void> {
    return this.ticks(id, this.#synced(id) + count);
  }

  /** The end of a sweep or a watch. */
  async end(id: number): Promise<Heard> {
    await until(() => this.#ended(id) !== undefined || this.#isClosed);
    return this.#ended(id) ?? { type: "closed" };
  }

  /** Says goodbye: the server keeps nothing for it. */
  async close(): Promise<void> {
    this.socket.close(1000);
    await this.closed;
  }

  /** Resolves when the server has read all that was sent to it, and what it answered has come. */
  async settled(): Promise<void> {
    const pong = once(this.socket, "pong");
    this.socket.ping();
    await Promise.race([pong, this.closed]);
  }

  #synced(id: number): number {
    const begin = this.heard.findLast((message) => message.type === "begin" && message.id === id);
    return this.heard.filter((message) => message.type === "sync" && message.channel === begin?.channel).length;
  }

  get #isClosed(): boolean {
    return this.socket.readyState !== WebSocket.OPEN;
  }

  #first(type: string): Heard | undefined {
    return this.heard.find((message) => message.type === type);
  }

  #ended(id: number): Heard | undefined {
    return this.heard.find((message) => message.type === "end" && message.id === id);
  }

  #receive(data: Buffer): void {
    this.raw.push(data);
    if (!this.#isBinary) {
      const { record, ...message } = JSON.parse(data.toString());
      this.heard.push(message);
      if (record === undefined) return;
      const { domain, status, index, params = {} } = record;
      this.seen.push({ ...domain, status, index, keys: Object.keys(params) });
      return;
    }
    const { blocks, full, changed, ...message } = unpack(data) as Heard;
    this.heard.push(message);
    const decoded = this.#decoder.decode(data);
    const told = this.#states.flatMap(({ sink }) => sink.take());
    const records = decoded.type === "records" ? decoded.records : [];
    for (const record of [...records, ...told.flatMap((event) => (event.type === "record" ? [event.record] : []))]) {
      const { domain, status, index, params } = record;
      const { uuid, name, host } = domain;
      this.seen.push({ uuid, name, host, status, index, keys: [...params.list()].map(({ key }) => key) });
    }
  }
}
