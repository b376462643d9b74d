import { runCommand } from "./command.ts";
import type { Libvirtd } from "./libvirtd.ts";

/** What people use today for the statistics of all domains. */
export const PEERS = ["virsh domstats", "virsh domstats --nowait", "getAllDomainStats"] as const;
/** One of them; the last is the bulk call of libvirt's Python binding. */
export type Peer = (typeof PEERS)[number];

/** What came of asking a peer. */
export interface PeerAnswer {
  /** `hangs`: it was killed at its limit. */
  readonly outcome: "answered" | "failed" | "hangs";
  /**
   * Until its answer or its failure, in ms. virsh's time includes its start (about 30 ms); the binding's is that of the
   * call alone, on an open connection.
   */
  readonly tookMs: number;
  /** Domains in its answer. */
  readonly domains: number;
  /** What it said when it failed. */
  readonly message: string;
}

const BINDING = `
import libvirt, sys, time
libvirt.registerErrorHandler(lambda *_: None, None)
connection = libvirt.openReadOnly(sys.argv[1])
start = time.perf_counter()
try:
    records = connection.getAllDomainStats()
except libvirt.libvirtError as error:
    print("failed", (time.perf_counter() - start) * 1000, 0, error)
else:
    print("answered", (time.perf_counter() - start) * 1000, len(records))
`;

/**
 * Asks a peer for everything of all domains and resolves with what came of it, after `limitMs` at the latest: then the
 * peer is killed. The daemon does not notice: what it had begun for the peer goes on hanging.
 */
export async function askPeer(libvirtd: Libvirtd, peer: Peer, limitMs: number): Promise<PeerAnswer> {
  const env = { ...process.env, LC_ALL: "C.UTF-8" };
  const options = { env, timeout: limitMs };
  const [program, args]: [string, string[]] =
    peer === "getAllDomainStats"
      ? ["/usr/bin/python3", ["-c", BINDING, libvirtd.uri]]
      : ["virsh", ["-c", libvirtd.uri, ...peer.split(" ").slice(1)]];
  const began = performance.now();
  const { stdout, stderr, code } = await runCommand(program, args, options);
  const tookMs = performance.now() - began;
  if (code === 137 && tookMs >= limitMs) return { outcome: "hangs", tookMs: limitMs, domains: 0, message: "" };
  const failed = (message: string, after: number): PeerAnswer => {
    const text = message
      .trim()
      .split("\n")
      .at(-1)!
      .replace(/^error: /, "");
    return { outcome: "failed", tookMs: after, domains: 0, message: text };
  };
  if (code !== 0) return failed(stderr, tookMs);
  if (peer !== "getAllDomainStats") {
    return { outcome: "answered", tookMs, domains: stdout.match(/^Domain: /gm)?.length ?? 0, message: "" };
  }
  const [outcome, took, domains, ...words] = stdout.trim().split(" ");
  if (outcome === "failed") return failed(words.join(" "), Number(took));
  return { outcome: "answered", tookMs: Number(took), domains: Number(domains), message: "" };
}
