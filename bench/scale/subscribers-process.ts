import { once } from "node:events";
import { WebSocket } from "ws";
import { groupMask } from "../../src/model/group.ts";
import { CreditMeter } from "../../src/wire/flow-control.ts";
import { pack } from "../../src/wire/pack.ts";
import { DEFAULT_CREDIT } from "../../src/wire/protocol.ts";
import { requestText } from "../../src/wire/request.ts";
import { answerCalls } from "../calls.ts";
import { GROUPS } from "../records.ts";
import type { Subscribers } from "./point.ts";

/** Bytes of a map's head, after which its first member follows. */
const MAP_HEAD = 3;
const DEADLINE_MS = 2_000;
/** How many connections are opened at a time. */
const AT_A_TIME = 50;

const startOf = (type: string): Buffer => Buffer.from(pack({ type })).subarray(MAP_HEAD);
const SYNC = startOf("sync");
const ROWS = ["records", "changes"].map(startOf);

interface Counts {
  messages: number;
  bytes: number;
  /** The number of ends of sweeps; each sweep is of one host. */
  syncs: number;
}

const counts: Counts = { messages: 0, bytes: 0, syncs: 0 };
let sockets: WebSocket[] = [];

/**
 * One subscriber. It reads and returns credit as a client does, but decodes only the type of each message, because the
 * benchmark measures the server, which shares the machine with all subscribers.
 */
async function subscribe(url: string, subscribers: Subscribers, index: number): Promise<void> {
  const { json = false, intervalMs, mode = "sample", queries = 1, guests } = subscribers;
  const options = { perMessageDeflate: false, rejectUnauthorized: false };
  const socket = new WebSocket(url, json ? "virstream.v1.json" : "virstream.v1", options);
  await once(socket, "open");
  sockets.push(socket);
  const meter = new CreditMeter(DEFAULT_CREDIT);
  socket.on("message", (data: Buffer) => {
    counts.messages++;
    counts.bytes += data.length;
    if (json ? data.includes('"type":"sync"') : isA(data, SYNC)) counts.syncs++;
    else if (json ? data.includes('"type":"record"') : ROWS.some((type) => isA(data, type))) {
      meter.receive(data.length);
      const bytes = meter.consume(data.length);
      if (bytes > 0) socket.send(requestText({ type: "credit", id: 1, bytes }));
    }
  });
  socket.send(requestText({ type: "hello", client: "bench", token: undefined }));
  // A query with another deadline is another query, and costs the same.
  const query = {
    ...{ groups: groupMask(GROUPS), flags: 0, deadlineMs: DEADLINE_MS + (index % queries) },
    domains: guests === true ? [{ name: `guest-${String(index).padStart(5, "0")}` }] : undefined,
  };
  const cadence = mode === "sample" ? { intervalMs, mode, heartbeatMs: 0 } : { intervalMs, mode, heartbeatMs: 30_000 };
  socket.send(requestText({ type: "watch", id: 1, query, cadence, credit: DEFAULT_CREDIT, since: undefined }));
}

function isA(data: Buffer, type: Buffer): boolean {
  return data.subarray(MAP_HEAD, MAP_HEAD + type.length).equals(type);
}

const calls = {
  /** Opens subscribers, each with a connection and one watch. */
  async subscribe({ url, subscribers }: { url: string; subscribers: Subscribers }): Promise<void> {
    for (let i = 0; i < subscribers.count; i += AT_A_TIME) {
      const indexes = Array.from({ length: Math.min(AT_A_TIME, subscribers.count - i) }, (_, j) => i + j);
      await Promise.all(indexes.map((index) => subscribe(url, subscribers, index)));
    }
  },
  /** What all subscribers together have received so far. */
  async counts(): Promise<Counts> {
    return { ...counts };
  },
  /** Cancels all watches, and closes the connections. */
  async leave(): Promise<void> {
    for (const socket of sockets) {
      socket.send(requestText({ type: "cancel", id: 1 }));
      socket.close(1000);
    }
    await Promise.all(sockets.map((socket) => once(socket, "close")));
    sockets = [];
  },
};
export type SubscribersCalls = typeof calls;

answerCalls(calls);
