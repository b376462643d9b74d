import { withTimeout } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import { type HypervisorFacts, openHypervisor } from "./handshake.ts";
import { RpcClient } from "./rpc/rpc-client.ts";
import type { StatsReader } from "./rpc/stats-reply.ts";
import type { OpenTransport } from "./transport/transport.ts";
import type { LibvirtUri } from "./transport/uri.ts";

/** How to reach a daemon. */
export interface DaemonAddress {
  readonly uri: LibvirtUri;
  readonly transports: OpenTransport;
  /** How long it may take, in ms. */
  readonly timeoutMs: number;
  /** Reads the statistics replies of all connections; by default each has a reader of its own. */
  readonly stats?: StatsReader;
}

/** A connection to a daemon, and what the daemon says of itself. */
export interface OpenedDaemon {
  readonly client: RpcClient;
  readonly facts: HypervisorFacts;
}

/** Opens one connection: transport and handshake together within the time, else `connect-timeout`. */
export function connectDaemon(address: DaemonAddress, signal: AbortSignal | undefined): Promise<OpenedDaemon> {
  const { uri, timeoutMs } = address;
  const late = (): never => {
    throw new VirstreamError(
      "connect-timeout",
      `${uri.uri} did not answer within ${timeoutMs} ms: it hangs, or is overloaded; virstream doctor tells more`,
    );
  };
  return withTimeout((ended) => connect(address, ended), timeoutMs, late, { signal });
}

async function connect({ uri, transports, stats }: DaemonAddress, signal: AbortSignal): Promise<OpenedDaemon> {
  const client = new RpcClient(await transports(uri, signal), stats);
  const onAbort = () => client.destroy(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    if (signal.aborted) onAbort();
    const facts = await openHypervisor(client, uri.name, uri.transport);
    // A client that ended with the last answer would not report its end again.
    if (client.ended !== undefined) throw client.ended;
    return { client, facts };
  } catch (error) {
    client.destroy(VirstreamError.from(error));
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
