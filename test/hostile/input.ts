import type { Subprotocol } from "../../src/wire/protocol.ts";
import { RawPeer } from "./raw-peer.ts";

/** The token of the server that is attacked, and the shortest interval of its watches. */
export const TOKEN = "a secret of the attacked server";
export const MIN_INTERVAL_MS = 100;

/** Something that a client must not send, and how the server must react. */
export interface Input {
  readonly name: string;
  /** As `RawPeer.reaction` says it. */
  readonly reaction: string;
  /** Undefined: it is not a WebSocket. */
  readonly subprotocol?: Subprotocol;
  /** The client sends nothing more: the server waits until its time limit for a hello. */
  readonly silent?: boolean;
  send(peer: RawPeer): void | Promise<void>;
}

/** Sends an input over a connection of its own, and returns the server's reaction. */
export async function reactionTo({ subprotocol, silent, send }: Input, port: number): Promise<string> {
  const peer = await RawPeer.connect(port);
  try {
    if (subprotocol !== undefined) await peer.upgrade(subprotocol);
    await send(peer);
    return await peer.reaction(silent);
  } finally {
    await peer.close();
  }
}

/** Sends all inputs, some at a time, and returns the reactions that are not as they must be. */
export async function sendAll(inputs: readonly Input[], port: number, atOnce: number): Promise<string[]> {
  const wrong: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let input = inputs[next++]; input !== undefined; input = inputs[next++]) {
      const reaction = await reactionTo(input, port);
      if (reaction !== input.reaction) wrong.push(`${input.name}: ${reaction}, and not ${input.reaction}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return wrong;
}
