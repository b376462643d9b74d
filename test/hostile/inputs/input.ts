import type { Subprotocol } from "../../../src/wire/protocol.ts";
import type { Certificates } from "../attacked-servers.ts";
import type { SiteName } from "../sites.ts";
import { RawPeer } from "./raw-peer.ts";

/** Something that a client must not send, and how the server must react. */
export interface Input {
  /** What is wrong with it, in a few words: inputs of one kind are counted together. */
  readonly kind: string;
  /** Different for each input. */
  readonly name: string;
  /** As `RawPeer.reaction` says it, or the function `react`. */
  readonly reaction: string;
  /** Default: `guarded`. */
  readonly site?: SiteName;
  /** Undefined: it is not a WebSocket. */
  readonly subprotocol?: Subprotocol;
  /** The client sends nothing more, and keeps the connection: the server ends it after its time limit. */
  readonly silent?: boolean;
  /** The client ends its half of the connection, and reads on. TLS has no such half. */
  readonly ends?: boolean;
  /** What it sends, over a connection without TLS or after the handshake. */
  readonly send?: (peer: RawPeer) => void | Promise<void>;
  /** Instead of `send`: does everything with the port of its site, and returns the reaction. */
  readonly react?: (port: number, certificates: Certificates) => Promise<string>;
}

/** Where to send inputs. */
export interface Target {
  readonly ports: Readonly<Partial<Record<SiteName, number>>>;
  /** Undefined: there are no sites with TLS. */
  readonly certificates: Certificates | undefined;
}

/** Sends an input over a connection of its own, and returns the server's reaction. */
async function reactionTo(input: Input, { ports, certificates }: Target): Promise<string> {
  const { site = "guarded", subprotocol, silent, ends, send, react } = input;
  const port = ports[site]!;
  if (react !== undefined) return await react(port, certificates!);
  const isTls = site.toLowerCase().includes("tls");
  const peer = await RawPeer.connect(port, isTls ? certificates!.trust : undefined);
  try {
    if (subprotocol !== undefined) await peer.upgrade(subprotocol);
    await send?.(peer);
    if (ends) peer.finish();
    const reaction = await peer.reaction(silent);
    // The channels of a watch would wait for a client that is cut off.
    if (reaction === "ignored" || reaction.startsWith("end")) await peer.leave();
    return reaction;
  } finally {
    await peer.close();
  }
}

/** Sends all inputs, some at a time, and returns the reactions that are not as they must be. */
export async function sendAll(inputs: readonly Input[], target: Target, atOnce: number): Promise<string[]> {
  const wrong: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let input = inputs[next++]; input !== undefined; input = inputs[next++]) {
      const reaction = await reactionTo(input, target).catch((error) => `${error}`);
      if (reaction !== input.reaction) wrong.push(`${input.name}: ${reaction}, and not ${input.reaction}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return wrong;
}
