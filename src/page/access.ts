import { connect } from "../client/connect.ts";
import type { Connection } from "../client/connection.ts";
import { registerBuiltIn } from "../driver/registry.ts";
import { REMOTE_SCHEMES, remoteDriver } from "../drivers/remote/driver.ts";
import { openPageWatch } from "../drivers/remote/page-watch.ts";
import { openBrowserSocket } from "../drivers/remote/socket.ts";
import { VirstreamError } from "../model/error.ts";
import type { DomainIdentity } from "../model/record.ts";
import { type Diagnosis, diagnosisOfJson } from "../overview/diagnosis.ts";
import { element, setText } from "./element.ts";

// The page reads servers only, so it has neither the simulated host nor Node's sockets.
const openWatch = openPageWatch(() => import("../client/on-demand.ts"));
const openRemote = remoteDriver({ openSocket: openBrowserSocket, openWatch });
for (const scheme of REMOTE_SCHEMES) registerBuiltIn(scheme, openRemote, true);

/**
 * The longest wait between two attempts to connect, in ms, so that the page is connected again a few seconds after its
 * server is back.
 */
const MAX_WAIT_MS = 5_000;

/**
 * Connects to a server, and tries again until the server answers.
 *
 * @param onFailure called with the error of each attempt that failed
 * @throws VirstreamError for errors that another attempt cannot repair, such as `unauthenticated`
 */
export function connectTo(
  url: string,
  token: string | undefined,
  onFailure: (error: VirstreamError) => void,
  signal?: AbortSignal,
): Promise<Connection> {
  return connect(url, {
    ...(token === undefined ? {} : { token }),
    ...(signal === undefined ? {} : { signal }),
    waitForFirstConnection: true,
    reconnect: {
      maxMs: MAX_WAIT_MS,
      shouldRetry: (error) => {
        onFailure(error);
        return error.retryable;
      },
    },
  });
}

/** Opens the connection to a server, and asks for the token if the server wants one. */
export class Access {
  /** The form that asks for the token. It is visible while the server refuses the present token. */
  readonly form: HTMLFormElement;
  readonly #url: string;
  readonly #key: string;
  readonly #input = element("input", {
    ...{ type: "password", id: "token", required: "", autocomplete: "off", "aria-describedby": "token-reason" },
  });
  readonly #reason = element("p", { id: "token-reason" });
  #take: ((token: string) => void) | undefined;

  constructor(url: string) {
    this.#url = url;
    this.#key = `virstream token of ${url}`;
    this.form = element(
      "form",
      { class: "access" },
      element("label", { for: "token" }, "Token"),
      this.#input,
      element("button", { type: "submit" }, "Connect"),
      this.#reason,
    );
    this.form.hidden = true;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take?.(this.#input.value);
    });
  }

  /**
   * Asks the server what is wrong with a guest. Resolves with undefined if the server has no diagnosis. If the token
   * does not permit the question, it resolves with a text that says why.
   */
  async why(domain: DomainIdentity, signal: AbortSignal): Promise<Diagnosis | string | undefined> {
    const token = sessionStorage.getItem(this.#key);
    const response = await fetch(`why?${new URLSearchParams({ domain: domain.uuid })}`, {
      ...(token !== null && { headers: { authorization: `Bearer ${token}` } }),
      signal,
    });
    // The server's own refusal is plain text. A proxy in front of the server has answers of its own, mostly in HTML.
    if (response.status === 403 && response.headers.get("content-type")?.startsWith("text/plain"))
      return (await response.text()).trim();
    return response.ok ? diagnosisOfJson(await response.text(), domain) : undefined;
  }

  /**
   * Resolves when the page is connected. It tries again until then.
   *
   * @param onFailure called with the error of each attempt that failed
   * @throws VirstreamError for errors that neither another attempt nor another token can repair
   */
  async open(onFailure: (error: VirstreamError) => void): Promise<Connection> {
    for (;;) {
      const token = sessionStorage.getItem(this.#key) ?? undefined;
      try {
        return await connectTo(this.#url, token, onFailure);
      } catch (thrown) {
        const error = VirstreamError.from(thrown);
        if (error.code !== "unauthenticated") throw error;
        // If the server has advice of its own, this advice is the last part of the message.
        const advice = /^\S+: [^()]*\(([^()]+: [^()]+)\)$/.exec(error.message)?.[1];
        const why = advice === undefined ? "." : `: ${advice}.`;
        await this.#ask(token === undefined ? "This server needs a token." : `The server refused this token${why}`);
      }
    }
  }

  /** Shows the form until the user has entered a token. The browser keeps the token until its tab is closed. */
  async #ask(reason: string): Promise<void> {
    setText(this.#reason, reason);
    this.#input.value = "";
    this.form.hidden = false;
    this.#input.focus();
    const token = await new Promise<string>((resolve) => {
      this.#take = resolve;
    });
    sessionStorage.setItem(this.#key, token);
    this.form.hidden = true;
  }
}
