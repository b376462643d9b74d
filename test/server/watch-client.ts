import { once } from "node:events";
import { WebSocket } from "ws";
import type { VirstreamError } from "../../src/model/error.ts";
import type { SyncEvent, WatchEvent } from "../../src/model/watch.ts";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { CollectedState } from "../wire/collected-state.ts";

/** One watch of a client's. */
export class ClientWatch {
  readonly id: number;
  readonly state: CollectedState;
  readonly events: WatchEvent[] = [];
  /** What it may be sent yet, in bytes. */
  balance: number;
  /** Whether it gives back what it was sent, at once. */
  readonly gives: boolean;
  ended = false;
  error: VirstreamError | undefined;

  constructor(id: number, state: CollectedState, credit: number, gives: boolean) {
    this.id = id;
    this.state = state;
    this.balance = credit;
    this.gives = gives;
  }

  /** The ticks that were told. */
  get ticks(): number[] {
    return this.events.filter((event): event is SyncEvent => event.type === "sync").map(({ tick }) => tick);
  }

  /** The gaps, as reason and number. */
  get gaps(): [reason: string, skipped: number | undefined][] {
    return this.events.flatMap((event) => (event.type === "gap" ? [[event.reason, event.skipped]] : []));
  }
}

/** How a client watches; all other members travel as they are. */
export interface ClientWatchOptions {
  readonly credit?: number;
  readonly gives?: boolean;
  /** Where a watch of before stopped. */
  readonly state?: CollectedState;
  readonly since?: unknown;
  readonly [member: string]: unknown;
}

/** A client of the wire: it keeps what it is sent, and holds the server to its credit. */
export class WatchClient {
  readonly socket: WebSocket;
  readonly closed: Promise<[code: number, reason: Buffer]>;
  /** What it was sent. */
  readonly messages: Uint8Array[] = [];
  bytes = 0;
  epoch = "";
  readonly #decoder = new MessageDecoder({}, new ServerClock(() => performance.now()));
  readonly #watches = new Map<number, ClientWatch>();

  /** Connects; greets, unless told otherwise. */
  static async connect(
    server: { readonly url: string },
    { greets = true }: { greets?: boolean } = {},
  ): Promise<WatchClient> {
    const client = new WatchClient(new WebSocket(server.url, SUBPROTOCOLS[0]));
    await once(client.socket, "open");
    if (!greets) return client;
    client.send({ type: "hello" });
    await client.settled();
    return client;
  }

  private constructor(socket: WebSocket) {
    this.socket = socket;
    this.closed = once(socket, "close") as Promise<[code: number, reason: Buffer]>;
    socket.on("message", (data: Buffer) => this.#receive(data));
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  /** Watches; whoever awaits `settled` after that knows that the server has begun. */
  watch(id: number, options: ClientWatchOptions = {}): ClientWatch {
    const { credit = 1_048_576, gives = true, state = new CollectedState(), since, ...members } = options;
    const watch = new ClientWatch(id, state, credit, gives);
    this.#watches.set(id, watch);
    ChannelTable.of(this.#decoder).adopt(id, state);
    this.send({ type: "watch", id, intervalMs: 1_000, credit, since, ...members });
    return watch;
  }

  /** Goes on with a watch of another connection of before. */
  resume(id: number, { state }: ClientWatch, options: ClientWatchOptions = {}): ClientWatch {
    state.reconnect(true);
    const since = state.since === undefined ? undefined : { epoch: this.epoch, ...state.since };
    return this.watch(id, { ...options, state, since });
  }

  grant(watch: ClientWatch, bytes: number): void {
    watch.balance += bytes;
    this.send({ type: "credit", id: watch.id, bytes });
  }

  /** Resolves when the server has read all that was sent to it, and what it answered has come. */
  async settled(): Promise<void> {
    const pong = once(this.socket, "pong");
    this.socket.ping();
    await pong;
  }

  /** Is gone without a word. */
  async vanish(): Promise<void> {
    this.socket.terminate();
    await this.closed;
  }

  async close(code = 1000): Promise<void> {
    this.socket.close(code);
    await this.closed;
  }

  #receive(message: Uint8Array): void {
    this.messages.push(message);
    this.bytes += message.length;
    const decoded = this.#decoder.decode(message);
    if (decoded.type === "welcome") this.epoch = decoded.welcome.epoch;
    else if (decoded.type === "end") {
      const watch = this.#watches.get(decoded.id);
      if (watch !== undefined) Object.assign(watch, { ended: true, error: decoded.error });
    } else if (decoded.type === "watch") {
      const watch = this.#watches.get(decoded.id)!;
      watch.events.push(...watch.state.sink.take());
      if (decoded.bytes === 0) return;
      if (watch.balance <= 0) throw new Error(`${decoded.bytes} bytes were sent without credit`);
      watch.balance -= decoded.bytes;
      if (watch.gives && this.socket.readyState === this.socket.OPEN) this.grant(watch, decoded.bytes);
    }
  }
}
