import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { askPeer, PEERS, type Peer, type PeerAnswer } from "../../test/lab/peer.ts";
import { type FaultOptions, formatMs } from "./fault.ts";

/** What the peers did: by the number of the call, the first first. */
export type PeerTexts = Partial<Record<Peer, string>>[];

/**
 * Asks each peer `calls` times in a situation that is made anew for each, because what one leaves hanging in the daemon
 * changes it for the next. `meanwhile` runs beside the first call, 300 ms after it was begun.
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
