import { VirstreamError } from "../../model/error.ts";
import { type HypervisorFacts, openHypervisor } from "./rpc/handshake.ts";
import { RpcClient } from "./rpc/rpc-client.ts";
import type { OpenTransport } from "./transport/transport.ts";
import type { LibvirtUri } from "./transport/uri.ts";

/** How to reach a daemon. */
export interface Dial {
  readonly uri: LibvirtUri;
  readonly transports: OpenTransport;
  /** How long it may take, in ms. */
  readonly timeoutMs: number;
}

/** A connection to a daemon, and what the daemon says of itself. */
export interface Opened {
  readonly client: RpcClient;
  readonly facts: HypervisorFacts;
}

/** One connection, opened: transport and handshake together within the time, else `connect-timeout`. */
export async function dialDaemon(
  { uri, transports, timeoutMs }: Dial,
  given: AbortSignal | undefined,
): Promise<Opened> {
  const timeout = new AbortController();
  const timer = setTimeout(() => {
    timeout.abort(
      new VirstreamError(
        "connect-timeout",
        `${uri.uri} did not answer within ${timeoutMs} ms: it hangs, or is overloaded; virstream doctor tells more`,
      ),
    );
  }, timeoutMs);
  const signal = given === undefined ? timeout.signal : AbortSignal.any([given, timeout.signal]);
  let client: RpcClient | undefined;
  const onAbort = () => client?.destroy(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    client = new RpcClient(await transports(uri, signal));
    signal.throwIfAborted();
    const facts = await openHypervisor(client, uri.name, uri.transport);
    // It may have ended with the last answer, and would never tell of that again.
    if (client.ended !== undefined) throw client.ended;
    return { client, facts };
  } catch (error) {
    client?.destroy(VirstreamError.from(error));
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}
