import type { IncomingMessage } from "node:http";
import { withTimeout } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import { type Authenticate, type Identity, identityOf, roleDenial } from "./principal.ts";
import type { View, Views } from "./views.ts";

/**
 * The longest single wait for a client's `expiresAt`, in ms. A longer wait is divided, because a timer beyond 2^31 - 1
 * ms fires at once, and because the wall clock may be set during the wait.
 */
const EXPIRY_CHECK_MS = 60_000;

/** The error for a client with a valid token whose role does not permit the request. */
export class RoleDenied extends VirstreamError {
  /** The name of the client's principal. */
  readonly principal: string;

  constructor(principal: string, denial: string) {
    super("denied", denial);
    this.principal = principal;
  }
}

/** A client that was admitted. It exists until its connection is closed, or its request is answered. */
export class AdmittedClient {
  readonly name: string;
  readonly view: View;
  readonly #expiresAt: number;
  readonly #over: () => void;
  #timer: NodeJS.Timeout | undefined;
  #loggedOut = false;
  #onLogout: () => void = () => {};

  /** @param over called at each `release`, so it must be safe to call twice */
  constructor({ name, expiresAt }: Identity, view: View, over: () => void) {
    this.name = name;
    this.view = view;
    this.#expiresAt = expiresAt;
    this.#over = over;
    this.#wait();
  }

  /**
   * Sets the function that is called when the client must authenticate again. If the client must already do so, the
   * function is called at once.
   */
  onLogout(listener: () => void): void {
    this.#onLogout = listener;
    if (this.#loggedOut) listener();
  }

  logout(): void {
    this.#loggedOut = true;
    this.#onLogout();
  }

  /** Must be called when the client's connection is closed, or its request is answered. Safe to call twice. */
  release(): void {
    clearTimeout(this.#timer);
    this.#onLogout = () => {};
    this.#over();
  }

  #wait(): void {
    if (this.#expiresAt === Number.POSITIVE_INFINITY) return;
    const left = this.#expiresAt - Date.now();
    if (left <= 0) this.logout();
    else this.#timer = setTimeout(() => this.#wait(), Math.min(Math.ceil(left), EXPIRY_CHECK_MS));
  }
}

/** Decides which clients are admitted, and keeps the admitted clients. */
export class Admission {
  readonly #identify: Identify;
  readonly #views: Views;
  readonly #timeoutMs: number;
  readonly #most: () => number;
  /** How many clients are being identified. */
  #asked = 0;
  readonly #end = new AbortController();
  readonly #clients = new Set<AdmittedClient>();
  /**
   * For each client whose identification is under way, the names of the principals that were disconnected since it
   * began.
   */
  readonly #pending = new Set<Set<string>>();

  /**
   * @param timeoutMs how long the identification of one client may take, in ms
   * @param most returns how many clients may be identified at a time; this number may change
   */
  constructor(identify: Identify, views: Views, timeoutMs: number, most: () => number) {
    this.#identify = identify;
    this.#views = views;
    this.#timeoutMs = timeoutMs;
    this.#most = most;
  }

  /**
   * Admits a client. Returns undefined if the client is refused. The caller must release an admitted client.
   *
   * @throws VirstreamError `denied` (a RoleDenied) for a client that may only read /metrics, `deadline-exceeded` when
   *   `authenticate` takes too long, `invalid-argument` or `unknown-group` for an invalid principal, `limit-exceeded`
   *   when too many clients are being identified, or when the admitted clients have too many different restrictions
   */
  async admit(request: IncomingMessage, token: string | undefined): Promise<AdmittedClient | undefined> {
    const disconnected = new Set<string>();
    this.#pending.add(disconnected);
    try {
      for (;;) {
        disconnected.clear();
        const identity = await this.identify(request, token);
        if (identity === undefined) return undefined;
        const denial = roleDenial(identity.role);
        if (denial !== undefined) throw new RoleDenied(identity.name, denial);
        // If the principal was disconnected meanwhile, the loop identifies the client again, because this identity may
        // be from before the disconnection.
        if (!disconnected.has(identity.name)) return this.#admitted(identity);
      }
    } finally {
      this.#pending.delete(disconnected);
    }
  }

  /**
   * Finds out who a client is. Returns undefined if the client is refused.
   *
   * @throws VirstreamError `deadline-exceeded` when `authenticate` takes too long, `invalid-argument` or
   *   `unknown-group` for an invalid principal, `limit-exceeded` when too many clients are being identified
   */
  async identify(request: IncomingMessage, token: string | undefined): Promise<Identity | undefined> {
    const late = (): never => {
      throw new VirstreamError("deadline-exceeded", `authenticate did not answer within ${this.#timeoutMs} ms`);
    };
    const most = this.#most();
    if (this.#asked >= most) {
      throw new VirstreamError("limit-exceeded", `at most ${most} clients may be authenticated at a time`);
    }
    this.#asked++;
    try {
      const work = Promise.resolve(this.#identify(request, token));
      const identity = await withTimeout(work, this.#timeoutMs, late, { signal: this.#end.signal });
      return identity !== undefined && identity.expiresAt > Date.now() ? identity : undefined;
    } finally {
      this.#asked--;
    }
  }

  /** Makes the clients of a principal authenticate again. Returns the number of these clients. */
  disconnect(name: string): number {
    for (const disconnected of this.#pending) disconnected.add(name);
    const clients = [...this.#clients].filter((client) => client.name === name);
    for (const client of clients) client.logout();
    return clients.length;
  }

  /** Stops waiting for answers of `authenticate`. */
  close(): void {
    this.#end.abort(new VirstreamError("server-shutdown", "the server is shutting down"));
  }

  #admitted(identity: Identity): AdmittedClient {
    const holder = { name: identity.name };
    const view = this.#views.hold(identity.restriction, holder);
    const client = new AdmittedClient(identity, view, () => {
      this.#clients.delete(client);
      this.#views.release(view, holder);
    });
    this.#clients.add(client);
    return client;
  }
}

/** A function that decides who a client is. It returns undefined to refuse the client. */
export type Identify = (
  request: IncomingMessage,
  token: string | undefined,
) => Identity | undefined | Promise<Identity | undefined>;

/**
 * Makes an Identify from the application's function `authenticate`.
 *
 * @param onFailure called when `authenticate` throws or rejects; the client is then refused
 */
export function identifyBy(
  authenticate: Authenticate,
  onFailure: (request: IncomingMessage, error: VirstreamError) => void,
): Identify {
  return async (request, token) => {
    let principal: Awaited<ReturnType<Authenticate>>;
    try {
      principal = await authenticate(request, token);
    } catch (thrown) {
      onFailure(request, VirstreamError.from(thrown));
      return undefined;
    }
    return principal === undefined || principal === null ? undefined : identityOf(principal);
  };
}
