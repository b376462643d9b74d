import "../../../src/browser.ts";
import { connect } from "../../../src/client/connect.ts";
import { obligations, type Subject } from "./obligations.ts";
import type { Outcome } from "./page-server.ts";
import { runTests } from "./page-vitest.ts";

/** A subject as it is sent to a page. */
export interface SentSubject extends Omit<Subject, "connection" | "freeze" | "close"> {
  /** The server's. */
  readonly url: string;
  /** The name of the domain that is frozen. */
  readonly frozen: string;
}

/** Holds the connection of this page or worker against the obligations. */
export async function conform({ url, frozen, ...known }: SentSubject): Promise<Outcome[]> {
  obligations(async () => {
    const connection = await connect(url);
    const freeze = () => ({ name: frozen, thaw: () => {} });
    return { ...known, connection, freeze, close: () => connection.close() };
  });
  return runTests();
}
