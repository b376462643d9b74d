import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { DomainIdentity } from "../model/record.ts";
import { type Diagnosis, diagnosisOfJson } from "../overview/diagnosis.ts";

/** How long another virstream may take to answer, in ms. The other virstream's own limit is shorter. */
const SERVER_MS = 15_000;
/** Longer answers are ignored. A diagnosis has a few hundred bytes. */
const MAX_ANSWER_BYTES = 65_536;

/** The URI from which virstream reads the statistics of a guest's host, and the credentials for this URI. */
export interface GuestSource {
  readonly uri: string;
  /** The token for another virstream. */
  readonly token?: string;
  /** The certificates of the authorities to trust for wss:, in PEM. Default: Node's own list. */
  readonly ca?: string;
  /** The client's certificate and its key, in PEM, for a server that asks for a certificate. */
  readonly cert?: string;
  readonly key?: string;
}

/** At most this many characters of a server's reason are shown. */
const MAX_REASON = 200;

/**
 * Asks another virstream what is wrong with a guest. Returns the diagnosis; or, as a text, the reason why the server
 * does not answer this client; or undefined if the source is no virstream, or has no diagnosis.
 *
 * @throws the signal's reason, when it is aborted
 */
export async function askServer(
  { uri, token, ...certificates }: GuestSource,
  domain: DomainIdentity,
  signal: AbortSignal,
): Promise<Diagnosis | string | undefined> {
  // A ws+unix: URI has the path of a socket file and, after a colon, the prefix of the server's paths.
  const [, scheme, rest = ""] = /^(wss?|ws\+unix):\/\/(.*)$/i.exec(uri) ?? [];
  if (scheme === undefined) return undefined;
  const query = `/why?${new URLSearchParams({ domain: domain.uuid })}`;
  const isFile = scheme.toLowerCase() === "ws+unix";
  const [socketPath, prefix = ""] = rest.split(":");
  const target = isFile ? { socketPath, path: `${prefix.replace(/\/+$/, "")}${query}` } : {};
  const url = new URL(isFile ? "http://localhost" : `${uri.replace(/^ws/i, "http").replace(/\/+$/, "")}${query}`);
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  try {
    return await new Promise((resolve, reject) => {
      const take = (response: IncomingMessage): void => {
        textOf(response).then(
          (text) => resolve(response.statusCode === 200 ? diagnosisOfJson(text, domain) : reasonOf(response, text)),
          reject,
        );
      };
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const limit = AbortSignal.any([signal, AbortSignal.timeout(SERVER_MS)]);
      send(url, { ...target, ...certificates, headers, agent: false, signal: limit }, take)
        .on("error", reject)
        .end();
    });
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** Returns the reason in an answer that is no diagnosis. Undefined for a 404: that server has no diagnoses. */
function reasonOf({ statusCode, headers }: IncomingMessage, text: string): string | undefined {
  if (statusCode === 404 || !headers["content-type"]?.startsWith("text/plain")) return undefined;
  return text.split("\n")[0]!.slice(0, MAX_REASON) || undefined;
}

/** The body of an answer; empty if it is too long. */
async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    length += part.length;
    // Leaving the loop destroys the response.
    if (length > MAX_ANSWER_BYTES) return "";
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}
