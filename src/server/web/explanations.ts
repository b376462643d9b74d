import type { IncomingMessage } from "node:http";
import { withTimeout } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import { checkQuery } from "../../model/query.ts";
import { type DomainIdentity, domainKey } from "../../model/record.ts";
import { NIL_UUID } from "../../model/uuid.ts";
import { type Diagnosis, diagnosisJson } from "../../overview/diagnosis.ts";
import { type Admission, RoleDenied } from "../access/admission.ts";
import { neededToken, tokenFault } from "../access/principal.ts";
import type { View } from "../access/views.ts";
import { loadOf, type SweepPace } from "../bounds/sweep-pace.ts";

/**
 * Finds out what is wrong with a guest, for `/why`. The function may watch the guest and ask the guest's host. The
 * server aborts the signal when the answer is late, and when the server shuts down.
 */
export type Explain = (domain: DomainIdentity, signal: AbortSignal) => Promise<Diagnosis>;

/** An answer of `/why`. With the status 200 it is JSON, otherwise a text. */
export interface WhyAnswer {
  readonly status: number;
  readonly body: string;
}

const UNAUTHENTICATED: WhyAnswer = { status: 401, body: `this needs ${neededToken()}: Authorization: Bearer TOKEN` };
const SOME_GROUPS = "this token shows some groups only, and an answer has figures of all of them";
/**
 * How long the search for the guest may take, in ms. A short time is enough, because the search needs no answer of a
 * guest.
 */
const LOOKUP_MS = 2_000;
/** The most guests that are examined at a time. */
const AT_ONCE = 4;
/** How long an examination may take, in ms. */
const DEADLINE_MS = 12_000;
/** How long the answer of an examination is kept for further requests, in ms. */
const KEPT_MS = 5_000;

/**
 * Examines guests for clients that see them. At a time there is only one examination of a guest, however many clients
 * ask. For KEPT_MS after an examination, further requests get the same answer.
 */
export class Explanations {
  readonly #explain: Explain;
  readonly #admission: Admission;
  readonly #pace: SweepPace;
  readonly #onRefused: (request: IncomingMessage, why: string, principal?: string) => void;
  readonly #end = new AbortController();
  /** By the key of the guest: its examination under way, or its last answer. */
  readonly #answers = new Map<string, Promise<string>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #running = 0;

  /**
   * @param pace limits the sweeps that requests begin
   * @param onRefused called for a client whose token does not permit the request; `principal` is given if the token
   *   belongs to a principal
   */
  constructor(
    explain: Explain,
    admission: Admission,
    pace: SweepPace,
    onRefused: (request: IncomingMessage, why: string, principal?: string) => void,
  ) {
    this.#onRefused = onRefused;
    this.#explain = explain;
    this.#admission = admission;
    this.#pace = pace;
  }

  /**
   * Answers a request for the guest whose uuid or name is `guest`. If the client may not see this guest, the answer
   * says that there is no such guest.
   */
  async answer(request: IncomingMessage, token: string | undefined, guest: string): Promise<WhyAnswer> {
    try {
      const client = await this.#admission.admit(request, token);
      if (client === undefined) {
        this.#onRefused(request, tokenFault(token));
        return UNAUTHENTICATED;
      }
      let mayRead = true;
      client.onLogout(() => {
        mayRead = false;
      });
      try {
        if (client.view.groups !== 0) {
          this.#onRefused(request, SOME_GROUPS, client.name);
          return { status: 403, body: SOME_GROUPS };
        }
        const domain = await this.#find(client.view, guest);
        if (domain === undefined) return { status: 404, body: "there is no such guest" };
        const body = await this.#of(domain);
        return mayRead ? { status: 200, body } : UNAUTHENTICATED;
      } finally {
        client.release();
      }
    } catch (thrown) {
      const { code, retryable, message } = VirstreamError.from(thrown);
      if (thrown instanceof RoleDenied) {
        this.#onRefused(request, message, thrown.principal);
        return { status: 403, body: message };
      }
      return { status: code === "invalid-argument" ? 400 : retryable ? 503 : 500, body: `${message} [${code}]` };
    }
  }

  /** Ends the examinations under way. */
  close(): void {
    this.#end.abort(new VirstreamError("server-shutdown", "the server is shutting down"));
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** Finds the guest; undefined if the view does not show it. */
  async #find({ driver }: View, guest: string): Promise<DomainIdentity | undefined> {
    const query = checkQuery({ domains: [guest], groups: ["state"], deadlineMs: LOOKUP_MS });
    await new Promise<void>((resolve) => void this.#pace.enter({}, loadOf(query), resolve));
    this.#end.signal.throwIfAborted();
    for await (const records of driver.sweep(query, { signal: this.#end.signal, expect: () => {} })) {
      for (const { domain, status, error } of records) {
        if (status === "gone") continue;
        // If the host does not tell the guest's name or uuid, the guest may be one that the view does not show.
        if (domain.name === "" || domain.uuid === NIL_UUID)
          throw error ?? new VirstreamError("deadline-exceeded", "the guest's host does not answer");
        return domain;
      }
    }
    return undefined;
  }

  /**
   * The diagnosis of a guest as JSON.
   *
   * @throws VirstreamError `limit-exceeded` when too many guests are being examined, `deadline-exceeded` when the
   *   examination takes too long, and the errors of the examination
   */
  #of(domain: DomainIdentity): Promise<string> {
    const key = domainKey(domain);
    const known = this.#answers.get(key);
    if (known !== undefined) return known;
    if (this.#running >= AT_ONCE)
      throw new VirstreamError(
        "limit-exceeded",
        `the server examines ${AT_ONCE} guests at a time: try again in a second`,
      );
    const answer = this.#examine(domain);
    this.#answers.set(key, answer);
    const forget = (): void => {
      if (this.#end.signal.aborted) return;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        this.#answers.delete(key);
      }, KEPT_MS);
      this.#timers.add(timer.unref());
    };
    answer.then(forget, forget);
    return answer;
  }

  async #examine(domain: DomainIdentity): Promise<string> {
    this.#running++;
    try {
      const late = (): never => {
        throw new VirstreamError("deadline-exceeded", `the examination did not end within ${DEADLINE_MS / 1_000} s`);
      };
      const work = (signal: AbortSignal): Promise<Diagnosis> => this.#explain(domain, signal);
      return diagnosisJson(await withTimeout(work, DEADLINE_MS, late, { signal: this.#end.signal }));
    } finally {
      this.#running--;
    }
  }
}
