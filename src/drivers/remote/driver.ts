import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { DEFAULT_CREDIT, LIMITS, SUBPROTOCOLS } from "../../wire/protocol.ts";
import type { Driver, OpenDriver, OpenOptions, SweepContext } from "../driver.ts";
import { RemoteSession } from "./session.ts";
import type { OpenSocket } from "./socket.ts";

/** The schemes of virstream servers. */
export const REMOTE_SCHEMES = ["ws", "wss"] as const;

/** The domains of another virstream, over a WebSocket: remote is just another driver. */
export class RemoteDriver implements Driver {
  readonly uri: string;
  hypervisor = "";
  host = "";
  readonly #session: RemoteSession;

  constructor(uri: string, openSocket: OpenSocket, options: OpenOptions) {
    const subprotocol = options.subprotocol ?? SUBPROTOCOLS[0];
    if (!SUBPROTOCOLS.includes(subprotocol)) {
      throw new VirstreamError(
        "invalid-argument",
        `unknown subprotocol ${JSON.stringify(subprotocol)}: there are ${SUBPROTOCOLS.join(" and ")}`,
      );
    }
    const credit = options.creditBytes ?? DEFAULT_CREDIT;
    if (!Number.isInteger(credit) || credit < 1 || credit > LIMITS.credit) {
      throw new VirstreamError("invalid-argument", `creditBytes must be from 1 to ${LIMITS.credit}`);
    }
    this.uri = uri;
    this.#session = new RemoteSession(uri, this, openSocket, subprotocol, credit, options);
  }

  /** Resolves when the server has answered. */
  async opened(): Promise<void> {
    const { host, hypervisor } = await this.#session.welcome;
    this.host = host;
    this.hypervisor = hypervisor;
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return this.#session.sweep(query, context);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** A driver for ws: and wss: URIs that opens its sockets in this way. */
export function remoteDriver(openSocket: OpenSocket): OpenDriver {
  return async (uri, options) => {
    let url: URL;
    try {
      url = new URL(uri);
    } catch (cause) {
      throw new VirstreamError("invalid-uri", `${JSON.stringify(uri)} is not of the form ws://HOST:PORT`, { cause });
    }
    if (url.username !== "" || url.password !== "" || url.hash !== "") {
      throw new VirstreamError(
        "invalid-uri",
        `a ${url.protocol}// URI has no user and no fragment: give a token apart`,
      );
    }
    const driver = new RemoteDriver(uri, openSocket, options);
    await driver.opened();
    return driver;
  };
}
