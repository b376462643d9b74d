import { withoutSecrets } from "../../../driver/registry.ts";
import { VirstreamError } from "../../../model/error.ts";

/**
 * libvirt's connection URIs (docs/uri.rst, remote_driver.c):
 * `driver[+transport]://[user@][host][:port]/path?parameters`. libvirt's client uses the transport, the host and the
 * parameters in PARAMETERS itself. The rest is the name that the daemon opens.
 */

/** The hypervisor drivers of libvirt's daemons. */
export const LIBVIRT_DRIVERS = ["qemu", "test", "xen", "lxc", "vz", "bhyve", "ch", "vbox"] as const;

/** Every transport of libvirt's URIs. */
export const TRANSPORTS = ["unix", "tls", "tcp", "ssh", "libssh", "libssh2", "ext"] as const;
/** A transport: one of TRANSPORTS. */
export type Transport = (typeof TRANSPORTS)[number];

/**
 * Which daemons to try. `auto`: first the driver's own daemon, then libvirtd. `direct`: only the driver's own daemon.
 * `legacy`: only libvirtd.
 */
const MODES = ["auto", "direct", "legacy"] as const;
/** A choice of daemons: one of MODES. */
export type Mode = (typeof MODES)[number];

/** A parsed URI. */
export interface LibvirtUri {
  /** The text of the URI that was parsed, without secrets. */
  readonly uri: string;
  readonly driver: string;
  readonly transport: Transport;
  /** The argument of CONNECT_OPEN, e.g. `qemu:///system`. */
  readonly name: string;
  /** The path, e.g. `/system`. */
  readonly path: string;
  readonly mode: Mode;
  /** The socket that `?socket=` names. */
  readonly socket: string | undefined;
  readonly user: string | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  /** All parameters of the URI, by name. The transports read their own parameters here. */
  readonly parameters: ReadonlyMap<string, string>;
}

const SSH: readonly Transport[] = ["ssh", "libssh", "libssh2"];

/**
 * The parameters that libvirt's client consumes, with the transports of virstream that can honour them. libvirt passes
 * all other parameters to the daemon, whose drivers ignore them. virstream refuses other parameters, because a mistyped
 * `socket=` or a `host=` would silently connect to another daemon. Parameters for the daemon can be given inside
 * `name=`, which takes a URI with any parameters. Every transport accepts three parameters that change nothing in
 * virstream. `no_tty`: virstream never prompts users. `no_sanity`: virstream never makes libvirt's checks of the
 * client's own certificate. `authfile`: virstream refuses SASL, and only SASL would use this file.
 */
export const PARAMETERS: ReadonlyMap<string, readonly Transport[]> = new Map([
  ["name", TRANSPORTS],
  ["no_tty", TRANSPORTS],
  ["no_sanity", TRANSPORTS],
  ["auth", TRANSPORTS],
  ["authfile", TRANSPORTS],
  ["mode", ["unix", ...SSH]],
  ["socket", ["unix", ...SSH]],
  ["no_verify", ["tls", ...SSH]],
  ["pkipath", ["tls"]],
  ["proxy", SSH],
  ["netcat", SSH],
  ["keyfile", SSH],
  ["known_hosts", SSH],
  ["known_hosts_verify", SSH],
  ["sshauth", SSH],
  ["tls_priority", []],
  ["command", []],
  ["argv", []],
]);

const SHAPE = /^([a-z][a-z0-9-]*)(?:\+([a-z0-9]+))?:(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?$/i;
/** A URI with a path in the place of the host, such as `qemu://system`. */
const MISSING_SLASH = /^([a-z0-9-]+(?:\+(?:unix|(\w+)))?):(?:\/\/)?(system|session|default)\/?(?:[?#].*)?$/i;
const AUTHORITY = /^(?:([^@]*)@)?(\[[0-9a-f:.]+(?:%25[\w.~-]+)?\]|[^:@[\]]*)(?::(\d*))?$/i;
/**
 * A host is compared with the names in certificates, and passed to programs in arguments. So it must have no special
 * characters.
 */
const HOST = /^(?:[\p{L}\p{N}_][\p{L}\p{N}._-]*)?$/u;

/**
 * Parses a URI. Throws `invalid-uri` if libvirt would refuse the URI as well, or if the URI has a parameter that is not
 * in PARAMETERS.
 */
export function parseLibvirtUri(text: string): LibvirtUri {
  // Without secrets, because errors and the status show this text.
  const uri = withoutSecrets(text);
  const shape = SHAPE.exec(text);
  if (shape === null) throw invalid(uri, "it is not of the form driver[+transport]://[user@][host][:port]/path");
  const [, scheme, remote, place] = MISSING_SLASH.exec(text) ?? [];
  if (scheme !== undefined) throw invalid(uri, `did you mean ${scheme}://${remote ? "HOST" : ""}/${place}?`);
  const driver = shape[1]!.toLowerCase();
  const path = shape[4]!;
  const authority = AUTHORITY.exec(shape[3] ?? "");
  if (authority === null) throw invalid(uri, "what stands between // and the path is not [user@]host[:port]");
  const user = decode(uri, authority[1]?.split(":", 1)[0] ?? "") || undefined;
  const bracketed = authority[2]!.startsWith("[");
  if (!bracketed && !HOST.test(authority[2]!)) {
    throw invalid(uri, `${JSON.stringify(authority[2])} is no name and no address of a host`);
  }
  const host = authority[2]!.replace(/^\[|\]$/g, "").replace("%25", "%") || undefined;
  const port = authority[3] ? Number(authority[3]) : undefined;
  if (port !== undefined && (port < 1 || port > 65_535)) throw invalid(uri, `there is no port ${port}`);

  const transport = (shape[2]?.toLowerCase() ?? (host === undefined ? "unix" : "tls")) as Transport;
  if (!TRANSPORTS.includes(transport)) {
    throw invalid(uri, `there is no transport ${transport}: the transports are ${TRANSPORTS.join(", ")}`);
  }
  if (transport === "unix" && (host ?? port ?? user) !== undefined) {
    throw invalid(uri, "a unix socket has no user, host or port: use +ssh, +tls or +tcp, or leave them out");
  }

  const parameters = new Map<string, string>();
  for (const piece of (shape[5] ?? "").split(/[&;]/)) {
    if (piece === "") continue;
    const [key, ...value] = piece.split("=");
    const name = decode(uri, key!);
    if (!PARAMETERS.has(name)) {
      const known = [...PARAMETERS.keys()].filter((each) => PARAMETERS.get(each)!.includes(transport));
      throw invalid(uri, `${transport} has no parameter ${name}=, but ${known.join(", ")}`);
    }
    parameters.set(name, decode(uri, value.join("=")));
  }
  const mode = (parameters.get("mode") ?? "auto") as Mode;
  if (!MODES.includes(mode)) throw invalid(uri, `mode is one of ${MODES.join(", ")}`);
  const socket = parameters.get("socket");
  if (socket === "") throw invalid(uri, "socket= names no socket");

  const name = parameters.get("name") ?? `${driver}://${path}`;
  return { uri, driver, transport, name, path, mode, socket, user, host, port, parameters };
}

function decode(uri: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(uri, `${JSON.stringify(text)} is not properly percent-encoded`);
  }
}

function invalid(uri: string, why: string): VirstreamError {
  return new VirstreamError("invalid-uri", `${JSON.stringify(uri)} is not a libvirt URI: ${why}`);
}
