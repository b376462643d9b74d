import type * as JetStream from "@nats-io/jetstream";
import type * as Kv from "@nats-io/kv";
import type * as Transport from "@nats-io/transport-node";
import { withTimeout } from "../../driver/clock.ts";
import type { OpenOptions } from "../../driver/driver.ts";
import { Backoff, DEFAULT_CONNECT_TIMEOUT_MS } from "../../driver/reconnector.ts";
import { type ErrorCode, VirstreamError } from "../../model/error.ts";
import type { NatsAddress } from "./address.ts";

/** The packages of NATS's client, which the application installs. */
export interface NatsLibrary {
  readonly transport: typeof Transport;
  readonly jetstream: typeof JetStream;
  readonly kv: typeof Kv;
}

/** The time between two pings of NATS's client, in ms. The client ends the connection after two unanswered pings. */
const PING_MS = 10_000;

/**
 * By default, a random wait between two attempts to reconnect is at most this long, in ms. With 2,000, the default of
 * NATS's client, the newest states of 200 hosts were older than two intervals of 1 s when the server was back.
 */
const MAX_WAIT_MS = 1_500;

/** Loads NATS's client. @throws VirstreamError `unsupported` with the command that installs the packages */
export async function loadNats(): Promise<NatsLibrary> {
  try {
    const [transport, jetstream, kv] = await Promise.all([
      import("@nats-io/transport-node"),
      import("@nats-io/jetstream"),
      import("@nats-io/kv"),
    ]);
    return { transport, jetstream, kv };
  } catch (cause) {
    const install = "npm install @nats-io/transport-node @nats-io/jetstream @nats-io/kv";
    throw new VirstreamError("unsupported", `fleets on NATS need its client: ${install}`, { cause });
  }
}

/** The options of connect() that apply to a connection to NATS. */
export type NatsOptions = Pick<OpenOptions, "signal" | "connectTimeoutMs" | "reconnect">;

/**
 * Connects to a server of NATS. From then on the client of NATS reconnects by itself.
 *
 * @param name the name that the server shows in its list of clients
 * @throws VirstreamError `unauthenticated`, `connection-refused`, `connect-timeout`, …
 */
export async function connectNats(
  { transport }: NatsLibrary,
  address: NatsAddress,
  name: string,
  { signal, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS, reconnect }: NatsOptions,
): Promise<Transport.NatsConnection> {
  const { servers, user, password, token, tls, files, inbox } = address;
  const { creds, ca, cert, key } = files;
  const backoff = new Backoff(() => performance.now(), { ...reconnect, maxMs: reconnect?.maxMs ?? MAX_WAIT_MS });
  const connecting = transport.connect({
    ...{ name, servers: [...servers], timeout: connectTimeoutMs, pingInterval: PING_MS, noAsyncTraces: true },
    reconnectDelayHandler: () => backoff.next(),
    ...(reconnect?.attempts === 0
      ? { reconnect: false }
      : { maxReconnectAttempts: Number.isFinite(reconnect?.attempts) ? reconnect!.attempts! : -1 }),
    // A server that restarts may refuse clients for a while, for example until its accounts are loaded. So a refusal
    // does not end the attempts.
    ignoreAuthErrorAbort: true,
    ...(inbox !== undefined && { inboxPrefix: inbox }),
    ...(user !== undefined && { user, pass: password ?? "" }),
    ...(token !== undefined && { token }),
    ...(creds !== undefined && { authenticator: transport.credsAuthenticator(new TextEncoder().encode(creds)) }),
    ...((tls || (ca ?? cert ?? key) !== undefined) && {
      tls: { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) },
    }),
  });
  const late = (): never => {
    throw new VirstreamError("connect-timeout", `${address.uri} did not answer within ${connectTimeoutMs} ms`);
  };
  try {
    return await withTimeout(connecting, connectTimeoutMs, late, { signal });
  } catch (error) {
    // The attempt may still succeed after this. Then its connection is closed.
    connecting.then((connection) => connection.close()).catch(() => {});
    if (signal?.aborted) throw error;
    throw natsError(error, address.uri);
  }
}

/**
 * For each kind of error of NATS's client, by the error's class, Node's code or the error's message: the code of our
 * error, what the error means, and what to do.
 */
const KINDS: readonly (readonly [kind: RegExp, code: ErrorCode, meaning: string])[] = [
  [/^(AuthorizationError|UserAuthenticationExpiredError)$/, "unauthenticated", "the server refuses the credentials"],
  [/^PermissionViolationError$/, "denied", "the server's permissions do not allow this, see docs/fleet.md"],
  [
    /^JetStreamNotEnabled$|^jetstream not enabled/,
    "unsupported",
    "the server has no JetStream: add jetstream {} to its configuration, or start it with -js",
  ],
  [/^ECONNREFUSED$/, "connection-refused", "nothing listens there: start nats-server"],
  [/^(ENOTFOUND|EAI_AGAIN)$/, "connection-refused", "the name of the server leads to no host"],
  [/^server does not support 'tls'/, "connection-refused", "the server has no TLS: use nats:"],
  [/max_payload/, "message-too-big", "the server accepts only smaller messages than when this one was made"],
  [/^TimeoutError$/, "connect-timeout", "the server did not answer in time"],
  [
    /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|ERR_TLS_|ERR_SSL_)/,
    "unauthenticated",
    "TLS failed: name the authority's certificate with ca=FILE, and the client's with cert=FILE and key=FILE",
  ],
];

/**
 * Converts an error of NATS's client to a VirstreamError. @param what the operation or the URI that the message names
 */
export function natsError(thrown: unknown, what: string): VirstreamError {
  if (thrown instanceof VirstreamError) return thrown;
  const chain: unknown[] = [];
  for (let cause = thrown; cause instanceof Error && chain.length < 8; cause = cause.cause) chain.push(cause);
  for (const each of chain as (Error & { readonly code?: unknown })[]) {
    const names = [each.name, each.constructor.name, String(each.code), each.message];
    for (const [kind, code, meaning] of KINDS) {
      if (names.some((name) => kind.test(name))) {
        return new VirstreamError(code, `${what}: ${meaning} (${each.message})`, { cause: thrown });
      }
    }
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new VirstreamError("connection-lost", `${what}: ${message}`, { cause: thrown });
}

/** The state of a connection to NATS, and the reason for it. */
export interface NatsStatus {
  readonly state: "connected" | "reconnecting" | "closed";
  readonly error: VirstreamError | undefined;
}

/**
 * Calls `changed` with each new state of a connection; `closed` is the last state. When the connection is lost, the
 * reason is the last error that the server sent, if it sent one.
 *
 * @param refused called with each error that the server sends
 */
export async function followStatus(
  connection: Transport.NatsConnection,
  uri: string,
  changed: (status: NatsStatus) => void,
  refused: (error: VirstreamError) => void = () => {},
): Promise<void> {
  let state: NatsStatus["state"] = "connected";
  let last: VirstreamError | undefined;
  const report = (next: NatsStatus["state"], error: VirstreamError | undefined): void => {
    if (next === state) return;
    state = next;
    changed({ state, error });
  };
  for await (const status of connection.status()) {
    if (status.type === "error") {
      last = natsError(status.error, uri);
      refused(last);
    } else if (status.type === "disconnect" || status.type === "staleConnection") {
      report("reconnecting", last ?? new VirstreamError("connection-lost", `${uri}: the connection broke`));
    } else if (status.type === "reconnect") {
      last = undefined;
      report("connected", undefined);
    }
  }
  const error = await connection.closed();
  report(
    "closed",
    error instanceof Error
      ? natsError(error, uri)
      : new VirstreamError("connection-closed", `the connection to ${uri} was closed`),
  );
}
