import { NetworkNamespace } from "../../test/lab/network-namespace.ts";
import { ServedProcess } from "../../test/lab/served-process.ts";
import { TcpProxy } from "../../test/lab/tcp-proxy.ts";

const SERVED = "test:///default?domains=200";

/** A server that the benchmark can make unreachable and reachable again. */
export interface Outage extends AsyncDisposable {
  readonly url: string;
  /**
   * True if the server keeps running during the outage. Then the number of sweeps that the server made follows from the
   * elapsed time.
   */
  readonly serving: boolean;
  begin(): void | Promise<void>;
  /** Resolves when the server can be reached again. */
  end(): void | Promise<void>;
}

/** The kinds of outages. */
export const OUTAGES: Record<string, () => Promise<Outage>> = {
  "server killed, and started again": async () => {
    const server = await ServedProcess.start({ uri: SERVED });
    return outage(
      server.url,
      false,
      [server],
      () => server.kill(),
      () => server.restart(),
    );
  },
  "server stopped (SIGSTOP)": async () => {
    const server = await ServedProcess.start({ uri: SERVED });
    return outage(
      server.url,
      false,
      [server],
      () => server.freeze(),
      () => server.thaw(),
    );
  },
  "connections reset, and refused for that time": () => proxied((proxy) => proxy.cut()),
  "every byte swallowed": () => proxied((proxy) => proxy.swallow()),
  "link down": async () => {
    const network = await NetworkNamespace.create();
    const { address: host, runBy } = network;
    const server = await ServedProcess.start({ uri: SERVED, host, runBy });
    return outage(
      server.url,
      true,
      [server, network],
      () => network.down(),
      () => network.up(),
    );
  },
};

/** A server behind a proxy that can cut and restore the connection. */
async function proxied(begin: (proxy: TcpProxy) => void | Promise<void>): Promise<Outage> {
  const server = await ServedProcess.start({ uri: SERVED });
  const proxy = await TcpProxy.start(server.port);
  return outage(
    proxy.url,
    true,
    [proxy, server],
    () => begin(proxy),
    () => proxy.restore(),
  );
}

function outage(
  url: string,
  serving: boolean,
  owned: readonly AsyncDisposable[],
  begin: Outage["begin"],
  end: Outage["end"],
): Outage {
  return {
    url,
    serving,
    begin,
    end,
    async [Symbol.asyncDispose]() {
      for (const part of owned) await part[Symbol.asyncDispose]();
    },
  };
}
