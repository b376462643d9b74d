import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { VirstreamError } from "../../../model/error.ts";
import { flag } from "./parameters.ts";
import { LIMIT_ADVICE } from "./tcp.ts";
import type { LibvirtUri } from "./uri.ts";

/** One place to search for the certificates, the key and the list of revoked certificates: the path of each file. */
export interface Paths {
  readonly ca: string;
  /** The list of revoked certificates. */
  readonly crl: string;
  readonly certificate: string;
  readonly key: string;
}

/** The contents of the files that a TLS connection is opened with. */
export interface Credentials {
  /** Undefined if there is no such file, and the URI switches off the verification of the server. */
  readonly ca: Buffer | undefined;
  readonly crl: Buffer | undefined;
  /** Undefined if the default folders have no client certificate. Some daemons do not ask for one. */
  readonly client: { readonly certificate: Buffer; readonly key: Buffer; readonly paths: Paths } | undefined;
  /** The places that were searched, in the order of the search. */
  readonly places: readonly Paths[];
}

/** The default places: first the user's folder, unless the user is root, and then the system's folder. */
export function defaultPlaces(
  userFolder = process.getuid?.() === 0 ? "" : join(homedir(), ".pki/libvirt"),
  systemFolder = "/etc/pki",
): Paths[] {
  const system = {
    ca: join(systemFolder, "CA/cacert.pem"),
    crl: join(systemFolder, "CA/cacrl.pem"),
    certificate: join(systemFolder, "libvirt/clientcert.pem"),
    key: join(systemFolder, "libvirt/private/clientkey.pem"),
  };
  return userFolder === "" ? [system] : [flat(userFolder), system];
}

function flat(folder: string): Paths {
  return {
    ca: join(folder, "cacert.pem"),
    crl: join(folder, "cacrl.pem"),
    certificate: join(folder, "clientcert.pem"),
    key: join(folder, "clientkey.pem"),
  };
}

/**
 * Reads the files of Credentials. As in libvirt, the CA's file and the pair of certificate and key are searched for
 * independently, first in the user's folder and then in the system's. If the URI has `pkipath`, the CA's file, the
 * certificate and the key must all exist in that folder. Rejects with `unauthenticated`, which names the file that is
 * missing, unreadable or unusable, or with `connection-lost` when the cause is not the file itself and may be gone at
 * the next attempt.
 */
export async function readCredentials(uri: LibvirtUri, defaults = defaultPlaces()): Promise<Credentials> {
  const folder = uri.parameters.get("pkipath");
  const places = folder === undefined ? defaults : [flat(folder)];
  const required = folder !== undefined;

  const ca = await first(places, "ca");
  if (ca === undefined && (required || !flag(uri, "no_verify"))) {
    const paths = places.map((place) => place.ca);
    throw missing(paths, "the CA's certificate, to verify the server");
  }
  let client: Credentials["client"];
  // In any place, a certificate without its key is an error, because a further search could find and present another
  // certificate.
  for (const paths of places) {
    const [certificate, key] = [await read(paths.certificate), await read(paths.key)];
    if (certificate !== undefined && key !== undefined) {
      checkKey(paths.key, key);
      client = { certificate, key, paths };
      break;
    }
    if (certificate !== undefined) throw missing([paths.key], `the private key of ${paths.certificate}`);
    if (key !== undefined) throw missing([paths.certificate], `the certificate to ${paths.key}`);
    if (required) throw missing([paths.certificate, paths.key], "the client's certificate and its key");
  }
  return { ca, crl: await first(places, "crl"), client, places };
}

async function first(places: readonly Paths[], file: "ca" | "crl"): Promise<Buffer | undefined> {
  for (const paths of places) {
    const bytes = await read(paths[file]);
    if (bytes !== undefined) return bytes;
  }
  return undefined;
}

/** The errors that the file itself causes. Any other error may be gone at the next attempt. */
const UNREADABLE: ReadonlySet<string | undefined> = new Set(["EACCES", "EPERM", "EISDIR", "ELOOP", "ENAMETOOLONG"]);

/** The bytes of a file; undefined when it does not exist. */
async function read(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (!UNREADABLE.has(code)) {
      throw new VirstreamError("connection-lost", `${path} cannot be read: ${message}: ${LIMIT_ADVICE}`, { cause });
    }
    const advice =
      code === "EACCES"
        ? "let the user that virstream runs as read it, or give that user files of its own (pkipath=)"
        : message;
    throw new VirstreamError("unauthenticated", `${path} cannot be read: ${advice}`, { cause });
  }
}

/**
 * Refuses an encrypted key with a clear message. OpenSSL's own message is about an interrupted read, because OpenSSL
 * cannot prompt for the passphrase.
 */
function checkKey(path: string, key: Buffer): void {
  if (!/^(-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED)/m.test(key.toString("latin1"))) return;
  throw new VirstreamError(
    "unauthenticated",
    `${path} is encrypted with a passphrase, which a service cannot type. Store it without one, readable by its ` +
      `user only: openssl pkey -in ${path} -out NEW`,
  );
}

function missing(paths: readonly string[], what: string): VirstreamError {
  return new VirstreamError(
    "unauthenticated",
    `TLS needs ${what}: there is no ${paths.join(", no ")}. Put it there, or name the folder that has cacert.pem, ` +
      "clientcert.pem and clientkey.pem by pkipath=FOLDER; without certificates, use +ssh",
  );
}

/**
 * One sentence on why a server may have refused the client's certificate: the reason if it is visible on this machine,
 * otherwise what to check on the server.
 */
export function doubtsAbout({ ca, client, places }: Credentials, now = Date.now()): string {
  if (client === undefined) {
    const paths = places.map(({ certificate }) => certificate).join(", no ");
    return `No client certificate was shown, as there is no ${paths}: put one there, or name its folder by pkipath=`;
  }
  const path = client.paths.certificate;
  const certificate = parse(client.certificate);
  if (certificate === undefined) return `See whether ${path} is a certificate`;
  const oneLine = (name: string): string => name.replaceAll("\n", ",");
  const subject = oneLine(certificate.subject);
  if (Date.parse(certificate.validTo) < now) return `${path} (${subject}) expired on ${certificate.validTo}: renew it`;
  if (Date.parse(certificate.validFrom) > now)
    return `${path} (${subject}) is not valid before ${certificate.validFrom}`;
  const issuer = ca && parse(ca);
  if (issuer !== undefined && !certificate.checkIssued(issuer)) {
    const [by, ours] = [oneLine(certificate.issuer), oneLine(issuer.subject)];
    return `${path} (${subject}) was issued by ${by}, not by the CA that issued the server's (${ours})`;
  }
  return (
    `${path} has the name ${subject}: see whether the server's tls_allowed_dn_list has it (virt-pki-query-dn ${path} prints it ` +
    "as it must stand there), whether its ca_file issued it, and libvirtd's log"
  );
}

function parse(bytes: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(bytes);
  } catch {
    return undefined;
  }
}
