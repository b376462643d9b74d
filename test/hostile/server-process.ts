import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { answerCalls } from "../../bench/calls.ts";
import type { Authenticate, HandlerOptions, VirstreamServer } from "../../src/server/index.ts";
import { liveHeap } from "./mutation-run.ts";
import {
  HASTY_MS,
  MIN_INTERVAL_MS,
  type Pem,
  PLAIN_SITES,
  ROLE_TOKENS,
  type SiteName,
  TLS_SITES,
  TOKEN,
  USER_TOKENS,
  USERS_MS,
} from "./sites.ts";

/** The process of the servers that are attacked. They are those of the package, as it is built. */

/** What an attack must leave as it was. */
export interface AttackedFigures {
  /** Open file descriptors of the process. */
  readonly descriptors: number;
  /** Timers that would keep the process alive. */
  readonly timers: number;
  /** What is in use after garbage is collected, and resident memory, in MiB. */
  readonly heap: number;
  readonly resident: number;
  /** Of all servers: greeted clients, all accepted ones, watches, sweeps, and channels. */
  readonly clients: number;
  readonly accepted: number;
  readonly watches: number;
  readonly sweeps: number;
  readonly channels: number;
}

const servers: VirstreamServer[] = [];

const calls = {
  /** Starts the servers, those with TLS only with a certificate, and returns their ports. */
  async listen({ uri, tls, clientCa, packageUrl }: ListenOptions): Promise<Partial<Record<SiteName, number>>> {
    const { connect }: typeof import("../../src/index.ts") = await import(`${packageUrl}dist/index.js`);
    const { serve, TokenList }: typeof import("../../src/server/index.ts") = await import(
      `${packageUrl}dist/server/index.js`
    );
    const connection = await connect(uri);
    const entries = Object.entries(ROLE_TOKENS).map(([name, token]) => {
      const sha256 = createHash("sha256").update(token).digest("hex");
      const role = name === "admin" || name === "metrics" ? name : "stats";
      return { name, role, sha256, ...(name === "expired" && { expires: "2020-01-01T00:00:00Z" }) } as const;
    });
    const tokens = new TokenList(entries).without("revoked");
    const limits = { minIntervalMs: MIN_INTERVAL_MS };
    const hasty = { token: TOKEN, limits: { ...limits, helloTimeoutMs: HASTY_MS } };
    const guarded = { token: TOKEN, limits };
    const options: Record<SiteName, HandlerOptions> = {
      guarded,
      open: { ui: true, limits },
      prefix: { ...guarded, ui: true, prefix: "/vm" },
      roles: { authenticate: (_, token) => tokens.principalOf(token), limits },
      users: { authenticate: answerBadly, limits: { ...limits, helloTimeoutMs: USERS_MS } },
      hasty,
      tls: guarded,
      mutual: guarded,
      hastyTls: hasty,
      hastyMutual: hasty,
    };
    const ports: Partial<Record<SiteName, number>> = {};
    for (const site of [...PLAIN_SITES, ...(tls === undefined ? [] : TLS_SITES)]) {
      const asks = site === "mutual" || site === "hastyMutual";
      const certificates = tls && { tls: { ...tls, ...(asks && clientCa !== undefined && { clientCa }) } };
      const isPlain = (PLAIN_SITES as readonly string[]).includes(site);
      const server = await serve(connection, { ...options[site], port: 0, ...(!isPlain && certificates) });
      servers.push(server);
      ports[site] = Number(new URL(server.url).port);
    }
    return ports;
  },

  async figures(): Promise<AttackedFigures> {
    const heap = liveHeap() + process.memoryUsage().external;
    const sum = (figure: (server: VirstreamServer) => number): number =>
      servers.reduce((all, server) => all + figure(server), 0);
    return {
      descriptors: readdirSync("/proc/self/fd").length,
      timers: process.getActiveResourcesInfo().filter((name) => name === "Timeout").length,
      heap: heap / 2 ** 20,
      resident: process.memoryUsage.rss() / 2 ** 20,
      clients: sum(({ clients }) => clients),
      accepted: sum((server) => server.stats().clientsAccepted),
      watches: sum(({ watches }) => watches),
      sweeps: sum(({ sweeps }) => sweeps),
      channels: sum((server) => server.stats().channels),
    };
  },
};
export type AttackedCalls = typeof calls;

/** What the servers have in common. */
export interface ListenOptions {
  /** The address of what they serve. */
  readonly uri: string;
  readonly tls?: Pem;
  readonly clientCa?: string;
  /** The folder of the package that they are of, as a URL. */
  readonly packageUrl: string;
}

const answerBadly: Authenticate = (_, token) => {
  if (token === USER_TOKENS.silent) return new Promise(() => {});
  if (token === USER_TOKENS.failing) throw new Error("the database is down");
  if (token === USER_TOKENS.invalid) return { name: "someone", domain: [] } as never;
  return undefined;
};

answerCalls(calls);
