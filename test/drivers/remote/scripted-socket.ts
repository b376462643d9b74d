import type { OpenOptions } from "../../../src/driver/driver.ts";
import { RemoteDriver } from "../../../src/drivers/remote/driver.ts";
import { openNodeWatch } from "../../../src/drivers/remote/node-driver.ts";
import { explain } from "../../../src/drivers/remote/node-failure.ts";
import type { OpenSocket, Socket } from "../../../src/drivers/remote/socket.ts";
import { profileOf, type WireMessage } from "../../../src/wire/profile.ts";
import { SUBPROTOCOLS } from "../../../src/wire/protocol.ts";
import { ServerEnd } from "../../wire/server-end.ts";

/** What all scripted servers speak with, as one server's connections do. */
export const PROFILE = profileOf(SUBPROTOCOLS[0]);

/** A WebSocket of which a test plays the network and the server. */
export class ScriptedSocket implements Socket {
  binaryType = "";
  readonly protocol = SUBPROTOCOLS[0];
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message?: string; error?: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly explain = explain;
  /** What the client said, parsed. */
  readonly said: { readonly type: string; readonly [member: string]: unknown }[] = [];
  /** Whether the client is done with it. */
  ended = false;
  readonly end = new ServerEnd(PROFILE);

  send(data: string): void {
    this.said.push(JSON.parse(data));
  }

  close(): void {
    this.ended = true;
    queueMicrotask(() => this.onclose?.({ code: 1000, reason: "" }));
  }

  terminate(): void {
    this.ended = true;
  }

  /** The server accepts the connection, and the client's hello. */
  welcome(about: { epoch?: string; host?: string; hypervisor?: string } = {}): void {
    this.onopen?.({} as never);
    const welcome = { epoch: "e1", server: "scripted", host: "script", hypervisor: "test" };
    const times = { beatMs: 3_600_000, minIntervalMs: 10, steadyMs: 0 };
    this.say(this.end.say({ type: "welcome", ...welcome, ...times, ...about }));
  }

  /** The server says something. */
  say(messages: readonly WireMessage[]): void {
    for (const data of messages) this.onmessage?.({ data });
  }

  /** The connection ends; 1006: without a close. */
  lose(code = 1006): void {
    this.onclose?.({ code, reason: "" });
  }

  /** The connection cannot be made. */
  refuse(status?: number): void {
    const error = status === undefined ? { code: "ECONNREFUSED" } : undefined;
    this.onerror?.({ message: status === undefined ? "" : `Unexpected server response: ${status}`, error });
  }

  /** Messages of the client's of one type. */
  ofType(type: string): { readonly [member: string]: unknown }[] {
    return this.said.filter((message) => message.type === type);
  }
}

/** A driver whose sockets a test has in its hand, in the order in which they were opened. */
export class ScriptedNetwork {
  readonly sockets: ScriptedSocket[] = [];
  readonly driver: RemoteDriver;
  /** The changes of state since the driver was opened: `connected`, or another state and the error's code. */
  readonly heard: string[] = [];

  constructor(options: OpenOptions = {}) {
    const open: OpenSocket = () => {
      const socket = new ScriptedSocket();
      this.sockets.push(socket);
      return socket;
    };
    this.driver = new RemoteDriver("ws://server.example", { openSocket: open, openWatch: openNodeWatch }, options);
  }

  /** A driver that is connected by its first socket. */
  static async connected(options?: OpenOptions): Promise<ScriptedNetwork> {
    const network = new ScriptedNetwork(options);
    const opened = network.driver.opened();
    network.last.welcome();
    await opened;
    network.driver.onStatus(({ state, error }) => {
      network.heard.push(error === undefined ? state : `${state}: ${error.code}`);
    });
    return network;
  }

  /** The socket that was opened last. */
  get last(): ScriptedSocket {
    return this.sockets.at(-1)!;
  }
}
