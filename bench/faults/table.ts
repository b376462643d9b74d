import { PEERS } from "../../test/lab/peer.ts";
import type { FaultRow } from "./fault.ts";

/** Rows as a Markdown table. */
export function formatFaults(rows: readonly FaultRow[]): string {
  const lines = [
    ["fault", "virstream", "promised", "kept", ...PEERS.map((peer) => `\`${peer}\``)],
    ["---", "---", "---", "---", ...PEERS.map(() => "---")],
    ...rows.map(({ fault, ours, must = "", met, peers = {} }) => [
      fault,
      ours,
      must,
      met === undefined ? "" : met ? "yes" : "**NO**",
      ...PEERS.map((peer) => peers[peer] ?? ""),
    ]),
  ];
  return lines.map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`).join("\n");
}
