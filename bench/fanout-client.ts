import { once } from "node:events";
import { WebSocket } from "ws";
import { groupMask } from "../src/model/group.ts";
import { pack } from "../src/wire/pack.ts";
import { LIMITS } from "../src/wire/protocol.ts";
import { requestText } from "../src/wire/request.ts";
import { answerCalls } from "./calls.ts";
import { GROUPS } from "./records.ts";

/** The bytes of a map before its first member. */
const MAP_HEAD = 3;

const query = { groups: groupMask(GROUPS), flags: 0, deadlineMs: 2_000, domains: undefined };

/** The first member of a `sync` message, encoded. */
const SYNC = Buffer.from(pack({ type: "sync" })).subarray(MAP_HEAD);

let sockets: WebSocket[] = [];
/** How many ends of sweeps each subscriber has received. */
let syncs: number[] = [];
let awaited: { readonly syncs: number; readonly resolve: () => void } | undefined;

const calls = {
  /**
   * Starts subscribers of one watch, each with a connection. They have so much credit that they return none. Of each
   * message, they decode only the type. The reason is that the benchmark measures the server, which shares the machine
   * with them.
   */
  async subscribe({
    port,
    subscribers,
    intervalMs,
  }: {
    port: number;
    subscribers: number;
    intervalMs: number;
  }): Promise<void> {
    const cadence = { intervalMs, mode: "sample", heartbeatMs: 0 } as const;
    syncs = new Array<number>(subscribers).fill(0);
    for (let i = 0; i < subscribers; i++) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`, "virstream.v1", { perMessageDeflate: false });
      await once(socket, "open");
      socket.on("message", (data: Buffer) => {
        if (!data.subarray(MAP_HEAD, MAP_HEAD + SYNC.length).equals(SYNC)) return;
        syncs[i]!++;
        if (awaited !== undefined && syncs.every((count) => count >= awaited!.syncs)) awaited.resolve();
      });
      sockets.push(socket);
      socket.send(requestText({ type: "hello", client: "bench", token: undefined }));
      socket.send(requestText({ type: "watch", id: 1, query, cadence, credit: LIMITS.credit, since: undefined }));
    }
  },
  /** Waits until every subscriber has received this number of further ends of sweeps. */
  async ticks(count: number): Promise<void> {
    const syncsBefore = Math.max(...syncs);
    await new Promise<void>((resolve) => {
      awaited = { syncs: syncsBefore + count, resolve };
    });
  },
  /**
   * How many ends of sweeps have been received so far. `ticks`: the count of the subscriber that has received most;
   * `together`: the sum of the counts of all subscribers.
   */
  async arrived(): Promise<{ ticks: number; together: number }> {
    return { ticks: Math.max(...syncs), together: syncs.reduce((sum, count) => sum + count, 0) };
  },
  /** Closes all connections. */
  async leave(): Promise<void> {
    for (const socket of sockets) socket.close(1000);
    await Promise.all(sockets.map((socket) => once(socket, "close")));
    sockets = [];
  },
};
export type FanoutClientCalls = typeof calls;

answerCalls(calls);
