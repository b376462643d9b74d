import { readFileSync } from "node:fs";
import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";
import { whyUnreadable } from "../unreadable.ts";
import { DEFAULT_PREFIX, Subjects } from "./subjects.ts";

const FORM = "nats://[USER:PASSWORD@ or TOKEN@]HOST[:PORT][,HOST…][/PREFIX][?host=PATTERN&creds=FILE&inbox=NAME]";
const URI = /^(nats(?:\+tls)?):\/\/(?:([^@/?#]*)@)?([^@/?#]+)(?:\/([^/?#]*))?(?:\?([^#]*))?$/i;
const SERVER = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;

/** Parameters that name files. */
const FILES = ["creds", "ca", "cert", "key"] as const;

/** The content of a fleet's URI. */
export interface NatsAddress {
  /** The URI, without secrets. */
  readonly uri: string;
  /** The URI with which readers open the fleet, without secrets and without parameters. */
  readonly fleetUri: string;
  /** HOST or HOST:PORT of each server that the URI names. */
  readonly servers: readonly string[];
  readonly subjects: Subjects;
  /** Patterns of the hosts to read; undefined: all. */
  readonly hosts: readonly string[] | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  /** The beginning of the subjects of replies; undefined: `_INBOX`. */
  readonly inbox: string | undefined;
  /** True if the server must use TLS. If false, the server decides. */
  readonly tls: boolean;
  /** The contents of the files that the URI names, by the name of the parameter. */
  readonly files: Readonly<Partial<Record<(typeof FILES)[number], string>>>;
}

/**
 * Parses a URI of a fleet, and reads the files that it names.
 *
 * @param given a prefix and a file of credentials that replace those of the URI
 * @throws VirstreamError `invalid-uri`; `invalid-argument` for a file that cannot be read, and for a prefix that is not
 *   valid
 */
export function parseNatsUri(
  text: string,
  given: { readonly prefix?: string | undefined; readonly creds?: string | undefined } = {},
): NatsAddress {
  const uri = withoutSecrets(text);
  const refuse = (why: string): never => {
    throw new VirstreamError("invalid-uri", `${uri}: ${why}; a fleet is ${FORM}`);
  };
  const match = URI.exec(text);
  if (match === null) return refuse("this is no URI of a fleet");
  const [, scheme, userinfo, authority, path, query = ""] = match as unknown as [string, string, ...string[]];
  const servers = authority!.split(",");
  const wrong = servers.find((server) => !SERVER.test(server));
  if (wrong !== undefined) refuse(`${JSON.stringify(wrong)} is no HOST:PORT`);
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (name !== "host" && name !== "inbox" && !FILES.includes(name as "creds"))
      refuse(`there is no parameter ${name}=`);
  }
  const files: Partial<Record<(typeof FILES)[number], string>> = {};
  for (const name of FILES) {
    const file = (name === "creds" ? given.creds : undefined) ?? parameters.get(name) ?? undefined;
    if (file !== undefined) files[name] = readFile(name, file);
  }
  const prefix = given.prefix ?? (path === undefined || path === "" ? DEFAULT_PREFIX : path);
  const inbox = parameters.get("inbox") ?? undefined;
  if (inbox !== undefined && !/^[A-Za-z0-9_-]{1,64}$/.test(inbox)) refuse("inbox= has letters, digits, - and _");
  const hosts = parameters.getAll("host");
  const [user, password] = (userinfo ?? "").split(/:(.*)/s).map((part) => decode(part, refuse));
  const subjects = new Subjects(prefix);
  return {
    uri,
    fleetUri: `${scheme.toLowerCase()}://${authority}/${subjects.prefix}`,
    servers,
    subjects,
    hosts: hosts.length === 0 ? undefined : hosts,
    user: password === undefined ? undefined : user,
    password,
    token: userinfo !== undefined && password === undefined ? user : undefined,
    inbox,
    tls: scheme.toLowerCase() === "nats+tls",
    files,
  };
}

function decode(text: string, refuse: (why: string) => never): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return refuse("a % in the user, the password or the token is written %25");
  }
}

function readFile(name: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new VirstreamError("invalid-argument", `${name}=${file} cannot be read: ${whyUnreadable(cause)}`, { cause });
  }
}
