import { setTimeout as sleep } from "node:timers/promises";
import type { Subprotocol } from "../../src/wire/protocol.ts";
import { hello } from "./inputs/client-hello.ts";
import type { Target } from "./inputs/input.ts";
import { RawPeer, upgradeOf } from "./inputs/raw-peer.ts";
import { MIN_INTERVAL_MS, TOKEN } from "./sites.ts";

/** Connections that are opened and dropped at once, each at another stage. */

type Stage = (peer: RawPeer) => void | Promise<void>;

/** Says hello, and waits for the welcome and more bytes than that if there is a request. */
async function greeted(peer: RawPeer, subprotocol: Subprotocol, request?: object): Promise<void> {
  await peer.upgrade(subprotocol);
  peer.say({ type: "hello", token: TOKEN });
  if (request !== undefined) peer.say(request);
  await peer.arrival(request === undefined ? 100 : 400);
}

/** Before the WebSocket is open. */
const EARLY: readonly Stage[] = [
  () => {},
  (peer) => peer.send("GET / HTTP/1.1\r\nHost: "),
  (peer) => peer.send(upgradeOf()),
];
const LATER: readonly Stage[] = [
  (peer) => peer.upgrade("virstream.v1.json"),
  async (peer) => {
    await peer.upgrade("virstream.v1");
    peer.say({ type: "hello", token: TOKEN });
  },
  (peer) => greeted(peer, "virstream.v1"),
  // With this credit, the sweep stops after its first record.
  (peer) => greeted(peer, "virstream.v1.json", { type: "get", id: 1, credit: 1 }),
  (peer) => greeted(peer, "virstream.v1", { type: "watch", id: 1, intervalMs: MIN_INTERVAL_MS }),
];
/** In the middle of TLS's handshake: over a connection without it. */
const HANDSHAKES: readonly Stage[] = [
  () => {},
  (peer) => peer.send(hello().subarray(0, 60)),
  (peer) => peer.send(hello()),
  async (peer) => {
    peer.send(hello());
    await peer.arrival(100);
  },
];

/** How many connections there were, by what became of them. */
export interface StormFigures {
  readonly opened: number;
  /** Of these: dropped before the WebSocket was open; over TLS; with a reset. */
  readonly early: number;
  readonly overTls: number;
  readonly reset: number;
}

/**
 * Opens connections to the sites `guarded` and, with certificates, `tls`, and drops each at a stage, every second one in the middle of
 * a handshake. Resolves when all are closed.
 *
 * @param everyMs how long after the one before each is opened; 0: as soon as one of the last few is closed
 */
export async function storm({ ports, certificates }: Target, count: number, everyMs = 0): Promise<StormFigures> {
  let [early, overTls, reset, next] = [0, 0, 0, 0];
  const one = async (i: number): Promise<void> => {
    const isEarly = i % 2 === 0;
    const isTls = certificates !== undefined && (i >> 1) % 2 === 0;
    const isReset = (i >> 2) % 2 === 0;
    const turn = i >> 3;
    // Of those that stop early over TLS, some have got through its handshake.
    const isRaw = isTls && isEarly && turn % 2 === 0;
    const stages = isRaw ? HANDSHAKES : isEarly ? EARLY : LATER;
    const peer = await RawPeer.connect(
      ports[isTls ? "tls" : "guarded"]!,
      isTls && !isRaw ? certificates.trust : undefined,
    );
    await stages[(isEarly && isTls ? turn >> 1 : turn) % stages.length]!(peer);
    await (isReset ? peer.reset() : peer.close());
    early += Number(isEarly);
    overTls += Number(isTls);
    reset += Number(isReset);
  };
  if (everyMs === 0) {
    const lane = async (): Promise<void> => {
      for (let i = next++; i < count; i = next++) await one(i);
    };
    await Promise.all(Array.from({ length: 8 }, lane));
  } else {
    const open: Promise<void>[] = [];
    const began = performance.now();
    for (; next < count; next++) {
      await sleep(Math.max(0, began + next * everyMs - performance.now()));
      open.push(one(next));
    }
    await Promise.all(open);
  }
  return { opened: count, early, overTls, reset };
}
