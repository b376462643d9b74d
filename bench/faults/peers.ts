import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { askPeer, PEERS, type Peer, type PeerAnswer } from "../../test/lab/peer.ts";
import { type FaultOptions, formatMs } from "./fault.ts";

/** What the peers did, in words: an item for each call, in order. */
export type PeerTexts = Partial<Record<Peer, string>>[];

/**
 * Calls each peer `calls` times. The situation is set up again for each peer, because the hanging calls of one peer would change it
 * for the next. `meanwhile` runs during the first call, 300 ms after its start.
 */
export async function askPeers(
  lab: FaultLab,
  { peerLimitMs }: FaultOptions,
  enter: () => unknown,
  { calls = 1, meanwhile, leave }: { calls?: number; meanwhile?: () => unknown; leave?: () => unknown } = {},
): Promise<PeerTexts> {
  const texts: PeerTexts = Array.from({ length: calls }, () => ({}));
  for (const peer of PEERS) {
    await enter();
    for (const text of texts) {
      const asked = askPeer(lab.libvirtd, peer, peerLimitMs);
      if (text === texts[0] && meanwhile !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        await meanwhile();
      }
      text[peer] = formatAnswer(await asked, lab.guests.length);
      console.error(`faults: ${peer}: ${text[peer]}`);
    }
    await leave?.();
    await lab.calm();
  }
  return texts;
}

function formatAnswer({ outcome, tookMs, domains, message }: PeerAnswer, all: number): string {
  if (outcome === "hangs") return `hangs (killed after ${formatMs(tookMs)})`;
  if (outcome === "failed") return `fails after ${formatMs(tookMs)}: ${message}`;
  return domains === all ? formatMs(tookMs) : `${formatMs(tookMs)}, ${domains} of ${all} domains`;
}
