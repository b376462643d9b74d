import { PEERS } from "../../test/lab/peer.ts";
import type { FaultRow } from "./fault.ts";

/** The head of the table, as Markdown. */
export function faultsHead(): string {
  const head = ["fault", "virstream", "promised", "kept", ...PEERS.map((peer) => `\`${peer}\``)];
  return `${line(head)}\n${line(head.map(() => "---"))}`;
}

/** One row of the table, as Markdown. */
export function faultLine({ fault, ours, must = "", met, peers = {} }: FaultRow): string {
  const kept = met === undefined ? "" : met ? "yes" : "**NO**";
  return line([fault, ours, must, kept, ...PEERS.map((peer) => peers[peer] ?? "")]);
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
