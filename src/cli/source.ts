import type { GuestSource } from "../doctor/server-diagnosis.ts";
import "../drivers/builtin.ts";
import { X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { connect, connectAll } from "../client/connect.ts";
import type { Connection } from "../client/connection.ts";
import { FleetConnection } from "../client/fleet.ts";
import type { OpenOptions } from "../driver/driver.ts";
import { mayHaveHost } from "../driver/matcher.ts";
import { schemes, withoutSecrets } from "../driver/registry.ts";
import {
  type ClientConfiguration,
  clientConfigurationFile,
  readClientConfiguration,
} from "../drivers/libvirt/transport/client-configuration.ts";
import { findLocalSocket } from "../drivers/libvirt/transport/unix.ts";
import { whyUnreadable } from "../drivers/unreadable.ts";
import { invalid, VirstreamError } from "../model/error.ts";
import { checkPatterns } from "../model/glob.ts";
import { groupMask, groupNames, permittedOf } from "../model/group.ts";
import type { StatsQuery } from "../model/query.ts";
import type { Domain } from "../model/record.ts";
import { shellWord } from "../overview/shell-word.ts";
import { nearest } from "./nearest.ts";
import { notify } from "./notify.ts";

/**
 * The URI that an argument or the environment means. If the text is an alias in libvirt's client configuration, the URI
 * of the alias.
 */
export function resolveUri(text: string, env: NodeJS.ProcessEnv = process.env): string {
  if (text.includes(":")) return text;
  // A text with a slash is a path, such as that of a recording, because an alias has no slash.
  if (text.includes("/")) return pathToFileURL(text).href;
  return readClientConfiguration(clientConfigurationFile(env)).aliases.get(text) ?? text;
}

/** The schemes of a server's page and of its metrics, each with the scheme of the same server's statistics. */
const WEB_SCHEMES = new Map([
  ["http", "ws"],
  ["https", "wss"],
]);

/**
 * Resolves a URI like resolveUri(), and checks that its scheme is not a misspelt one.
 *
 * @throws VirstreamError `unknown-scheme` for a scheme that is misspelt or left out, and `invalid-uri` for the name of a file,
 *   with the URI that is probably meant
 */
export function spelledUri(text: string): string {
  const uri = resolveUri(text);
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(uri) ?? [];
  if (scheme === "" && statSync(uri, { throwIfNoEntry: false })?.isFile()) {
    throw new VirstreamError("invalid-uri", `${uri} is a file and no URI: did you mean ${pathToFileURL(uri).href}?`);
  }
  const known = schemes();
  if (scheme === "" || known.includes(scheme.toLowerCase())) return uri;
  const near = WEB_SCHEMES.get(scheme.toLowerCase()) ?? nearest(scheme, known);
  const meant = /^\d+$/.test(rest) ? `ws://${uri}` : near === undefined ? undefined : `${near}:${withoutSecrets(rest)}`;
  if (meant === undefined) return uri;
  throw new VirstreamError("unknown-scheme", `no driver for ${scheme}: URIs: did you mean ${meant}?`);
}

/**
 * The default URI, from the environment or libvirt's client configuration. If neither names a URI, it is that of this
 * machine's system daemon, or of the user's own daemon if only that one has a socket.
 */
export function defaultUri(
  env: NodeJS.ProcessEnv,
  findSocket = findLocalSocket,
  configuration: Pick<ClientConfiguration, "defaultUri"> = readClientConfiguration(clientConfigurationFile(env)),
): string {
  const named = env["VIRSTREAM_URI"] || env["LIBVIRT_DEFAULT_URI"] || configuration.defaultUri;
  if (named) return named;
  const socket = findSocket();
  return socket === undefined || /^(\/var)?\/run\/libvirt\//.test(socket) ? "qemu:///system" : "qemu:///session";
}

/** The token from a file or the environment; undefined if there is neither. */
export async function readToken(
  file: string | undefined,
  env: NodeJS.ProcessEnv,
  warn?: Warn,
): Promise<string | undefined> {
  if (file === undefined) return env["VIRSTREAM_TOKEN"] || undefined;
  const token = (await readText("token file", file, warn)).trim();
  if (token === "") throw invalid(`the token file ${file} is empty`);
  return token;
}

/** A function that reports a fault of a file that virstream uses nevertheless. */
export type Warn = (message: string, file: string) => void;

/**
 * The text of a file.
 *
 * @param what the kind of file, as error messages name it
 * @param warn called if every user of this machine can read the file; null: the file has no secrets
 */
export async function readText(what: string, file: string, warn: Warn | null = notify): Promise<string> {
  try {
    const { mode } = await stat(file);
    if (warn !== null && process.platform !== "win32" && (mode & 0o004) !== 0) {
      warn(`every user of this machine can read the ${what} ${file}: chmod 600 ${file}`, file);
    }
    return await readFile(file, "utf8");
  } catch (cause) {
    const message = `the ${what} ${file} cannot be read: ${whyUnreadable(cause)}`;
    throw new VirstreamError("invalid-argument", message, { cause });
  }
}

/** The credentials for virstream servers, and the certificates of the authorities to trust. */
export type Credentials = Omit<GuestSource, "uri">;

/** The files that the user named for the credentials. */
export interface CredentialFiles {
  readonly tokenFile: string | undefined;
  readonly caFile: string | undefined;
}

/**
 * The token, the authorities of `--ca`, and the certificate and its key from the files that the environment names.
 *
 * @param warn see readText()
 * @throws VirstreamError `invalid-argument` for a file that cannot be read, or does not have the expected content
 */
export async function readCredentials(
  { tokenFile, caFile }: CredentialFiles,
  env: NodeJS.ProcessEnv,
  warn?: Warn,
): Promise<Credentials> {
  const { VIRSTREAM_TLS_CERT: cert, VIRSTREAM_TLS_KEY: key } = env;
  if (!cert !== !key) throw invalid("$VIRSTREAM_TLS_CERT and $VIRSTREAM_TLS_KEY go together");
  const token = await readToken(tokenFile, env, warn);
  return {
    ...(token !== undefined && { token }),
    ...(caFile !== undefined && { ca: await readAuthorities(caFile) }),
    ...(cert && key && { cert: await readText("certificate", cert, null), key: await readText("key", key, warn) }),
  };
}

/** The options that name the files of the credentials, as further words of a command that the user may paste. */
export function credentialWords({ tokenFile, caFile }: CredentialFiles): string {
  const words = (option: string, file: string | undefined) =>
    file === undefined ? "" : ` ${option} ${shellWord(file)}`;
  return words("--token-file", tokenFile) + words("--ca", caFile);
}

async function readAuthorities(file: string): Promise<string> {
  const text = await readText("file of --ca", file, null);
  const certificates = text.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
  try {
    if (certificates.length === 0) throw new Error("it has none");
    for (const each of certificates) new X509Certificate(each);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const what = `--ca takes a file with the certificates of authorities, in PEM, not ${file} (${why})`;
    throw new VirstreamError("invalid-argument", what, { cause });
  }
  return text;
}

/**
 * Opens the source that `get`, `watch` or `serve` reads.
 *
 * @param uri undefined: the default URI, see defaultUri()
 * @throws VirstreamError the errors of connect(); if the default URI's socket is missing, the message advises to try
 *   the simulated host
 */
export async function openSource(
  uri: string | undefined,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<Connection> {
  try {
    return await connect(spelledUri(uri ?? defaultUri(process.env)), { signal, ...credentials });
  } catch (error) {
    if (uri !== undefined || !(error instanceof VirstreamError) || error.code !== "socket-missing") throw error;
    throw new VirstreamError(error.code, `${error.message}. Or try test:///default for a demo`, { cause: error });
  }
}

/**
 * Opens several sources as one connection, or a single source as openSource() does.
 *
 * @param uris empty: the default
 * @param more options for several sources
 */
export async function openSources(
  uris: readonly string[],
  credentials: Credentials,
  signal: AbortSignal,
  more: Pick<OpenOptions, "waitForFirstConnection"> = {},
): Promise<Connection> {
  const [uri, ...others] = uris;
  if (others.length === 0) return openSource(uri, credentials, signal);
  const options = { ...more, ...credentials, signal };
  return connectAll(
    uris.map((each) => spelledUri(each)),
    options,
  );
}

/** The URIs of a file, one on each line; empty lines and comments that begin with # are left out. */
export async function readHosts(file: string): Promise<string[]> {
  const text = await readText("file of hosts", file, null);
  const uris = text.split("\n").map((line) => line.replace(/^\s*#.*|\s+$/g, "").trim());
  const found = uris.filter((uri) => uri !== "");
  if (found.length === 0) throw invalid(`the file of hosts ${file} has no URI`);
  return found;
}

/** The URI of one of a connection's hosts. */
export function hostUri(connection: Connection, host: string): string {
  if (!(connection instanceof FleetConnection)) return connection.uri;
  return connection.hosts.find(({ name }) => name === host)?.uri ?? connection.uri;
}

/** Returns a function that gives the source of a host: its URI, and the credentials for its server. */
export function guestSources(connection: Connection, credentials: Credentials): (host: string) => GuestSource {
  return (host) => ({ uri: hostUri(connection, host), ...credentials });
}

/**
 * Opens sources as openSources() does. If `uris` names sources of which none can be reached now, but one may be reached
 * later, this function still resolves; the sources are then absent and are tried again. If `uris` is empty and the
 * default source cannot be reached, it fails, because it does not know which source to wait for.
 */
export async function awaitSources(
  uris: readonly string[],
  credentials: Credentials,
  signal: AbortSignal,
): Promise<Connection> {
  try {
    return await openSources(uris, credentials, signal);
  } catch (thrown) {
    if (uris.length === 0 || !VirstreamError.from(thrown).retryable) throw thrown;
    const options = { ...credentials, signal, waitForFirstConnection: true };
    return connectAll(
      uris.map((each) => resolveUri(each)),
      options,
    );
  }
}

/**
 * Limits the query to the groups that the server permits this client; see permittedOf(). Used when the user named no
 * groups.
 */
export function withPermittedGroups(query: StatsQuery, connection: Connection): StatsQuery {
  return { ...query, groups: permittedOf(groupNames(groupMask(query.groups)), connection.permittedGroups) };
}

/**
 * Replaces each id in `--domain` by its domain. As in virsh, an id has precedence over a name.
 *
 * @throws VirstreamError `invalid-argument` when no host can match `--host`: a watch would wait for such a host forever
 */
export async function withoutIds(connection: Connection, query: StatsQuery, signal: AbortSignal): Promise<StatsQuery> {
  const { host } = connection;
  if (query.hosts !== undefined && !mayHaveHost(host, checkPatterns("--host", query.hosts))) {
    throw invalid(`no host matches --host: ${host.includes(",") ? "the hosts are" : "the only host is"} ${host}`);
  }
  if (query.domains === undefined) return query;
  const find = (text: string): Promise<Domain | string> =>
    connection.lookupDomain(text, { signal }).catch((error: VirstreamError) => {
      if (error.code === "unknown-domain") return text;
      throw error;
    });
  const domains = query.domains.map((domain) => (/^\d+$/.test(String(domain)) ? find(String(domain)) : domain));
  return { ...query, domains: await Promise.all(domains) };
}
