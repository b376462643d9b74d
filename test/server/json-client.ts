import { once } from "node:events";
import { WebSocket } from "ws";
import type { VirstreamServer } from "../../src/server/server.ts";

/** What a client of a few lines keeps of a record. */
export interface JsonRecord {
  readonly domain: { readonly uuid: string; readonly name: string; readonly id: number; readonly host: string };
  readonly status: string;
  readonly params?: Record<string, unknown>;
  readonly [member: string]: unknown;
}

/** A message of the JSON profile. */
export type JsonMessage = { readonly type: string; readonly id?: number; readonly channel?: number } & Record<
  string,
  unknown
>;

/** The state of one watch in the JSON profile, as PROTOCOL.md has it, without any code of ours. */
export class JsonState {
  readonly domains = new Map<string, JsonRecord>();
  #awaited = 0;
  #complete = false;
  #old = new Set<string>();

  receive(message: JsonMessage): void {
    if (message.type === "begin" && message.channel !== undefined) {
      this.#old = new Set(this.domains.keys());
      this.#awaited = message["domains"] as number;
      this.#complete = message["complete"] === true;
      if (this.#awaited === 0 && this.#complete) this.#forget();
    } else if (message.type === "record") {
      const record = message["record"] as JsonRecord;
      const key = `${record.domain.host} ${record.domain.uuid}`;
      this.#old.delete(key);
      if (record.status === "gone" && record.params === undefined) this.domains.delete(key);
      else this.domains.set(key, record);
      if (message.id !== undefined && --this.#awaited === 0 && this.#complete) this.#forget();
    } else if (message.type === "sync" && message["complete"] === true) {
      this.#forget();
    }
  }

  #forget(): void {
    for (const key of this.#old) this.domains.delete(key);
    this.#old.clear();
  }
}

/** A client of the JSON profile. */
export class JsonClient {
  readonly socket: WebSocket;
  readonly messages: JsonMessage[] = [];
  /** Bytes of messages with records. */
  bytes = 0;
  readonly #state = new JsonState();

  static async connect(server: VirstreamServer): Promise<JsonClient> {
    const client = new JsonClient(new WebSocket(server.url, "virstream.v1.json"));
    await once(client.socket, "open");
    client.send({ type: "hello" });
    await client.settled();
    return client;
  }

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      if (isBinary) throw new Error("a binary message");
      this.#receive(JSON.parse(data.toString()), data.length);
    });
  }

  /** The state of the one watch that it has. */
  get domains(): ReadonlyMap<string, JsonRecord> {
    return this.#state.domains;
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  watch(id: number, members: object = {}): void {
    this.send({ type: "watch", id, intervalMs: 1_000, ...members });
  }

  ofType(type: string): JsonMessage[] {
    return this.messages.filter((message) => message.type === type);
  }

  /** Resolves when the server has read all that was sent to it, and what it answered has come. */
  async settled(): Promise<void> {
    const pong = once(this.socket, "pong");
    this.socket.ping();
    await pong;
  }

  #receive(message: JsonMessage, bytes: number): void {
    this.messages.push(message);
    if (message.type === "record") this.bytes += bytes;
    this.#state.receive(message);
  }
}
